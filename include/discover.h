/*
** discover.h - libdiscover: service discovery, client-side load balancing and service calls, from C.
**
** The contracts stand above the prototypes, in discover/core/discover.h first of all.
*/
#ifndef DISCOVER_H
#define DISCOVER_H

/* Outside of the braces below, so that C++ sees the C library as it wants to. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "discover/core/discover.h"

#ifdef __cplusplus
}
#endif

#endif

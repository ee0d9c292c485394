/*
** balancer.h - the algorithms that choose nodes, by name: least_used, round_robin, random, least_in_flight, hash.
*/
#ifndef DSC_MODEL_BALANCER_H
#define DSC_MODEL_BALANCER_H

#include "base/err.h"
#include "base/str.h"

#pragma GCC visibility push(default)

typedef struct dsc_balancer_ops dsc_balancer_ops;

/* Finds an algorithm by its name. Any thread. Static. Fails: NULL, `why` lists the known names. */
const dsc_balancer_ops *dsc_balancer_find(dsc_str name, dsc_why *why);

/* Returns its name. Any thread. Static string. */
const char *dsc_balancer_name(const dsc_balancer_ops *ops);

#pragma GCC visibility pop

#endif

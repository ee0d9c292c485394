/*
** fork.h - which generation of the process this is.
**
** A pthread_atfork handler counts; an object remembers the generation it was made in. In a child every
** inherited object is of an older generation: it must touch no socket and take no lock.
*/
#ifndef DSC_BASE_FORK_H
#define DSC_BASE_FORK_H

#include <stdbool.h>
#include <stdint.h>

/* Returns the current generation; the first call installs the atfork handler. Any thread. */
uint32_t dsc_fork_generation(void);

/* True when `generation` is not the current one: the object was made before a fork. Any thread. */
bool dsc_fork_is_stale(uint32_t generation);

#endif

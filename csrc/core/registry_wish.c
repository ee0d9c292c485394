/*
** registry_wish.c - what holders ask for about own nodes: register, unregister, weight, metadata.
**
** These only change the wish and kick; what follows from it is done by registry_own.c. A wish that is turned off
** never comes back by itself: only another register does that.
** Threads: any.
*/
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "core/registry_impl.h"

static dsc_err want_locked(dsc_registry *r, dsc_str app, dsc_str addr, uint32_t weight, char **metadata) {
  if (r->closing) return DSC_ESTOPPED;
  dsc_own *own = dsc_registry_own_find_locked(r, app, addr);
  if (!own) own = dsc_registry_own_new_locked(r, app, addr);
  if (!own) return DSC_ENOMEM;
  own->count++;
  own->weight = weight < DSC_WEIGHT_MAX ? weight : DSC_WEIGHT_MAX;
  dsc_mem_free(own->metadata);
  own->metadata = *metadata;
  *metadata = NULL;
  own->changed = true;
  own->retry_ms = 0;
  dsc_registry_run_kick_locked(r);
  return DSC_OK;
}

dsc_err dsc_registry_register(dsc_registry *registry, dsc_str app, dsc_str addr, uint32_t weight,
                              const char *metadata) {
  dsc_addr parsed;
  if (dsc_registry_run_is_forked(registry)) return DSC_EFORKED;
  if (dsc_addr_check_app(app, NULL) || dsc_addr_parse(&parsed, addr, NULL)) return DSC_EINVALID;
  char *copy = metadata && metadata[0] ? dsc_mem_strdup(dsc_str_of(metadata)) : NULL;
  if (metadata && metadata[0] && !copy) return DSC_ENOMEM;
  pthread_mutex_lock(registry->lock);
  dsc_err err = want_locked(registry, app, dsc_str_of(parsed.text), weight, &copy);
  pthread_mutex_unlock(registry->lock);
  dsc_mem_free(copy);
  return err;
}

/* Finds by an address in any spelling. */
static dsc_own *find_spelled_locked(dsc_registry *r, dsc_str app, dsc_str addr) {
  dsc_addr parsed;
  if (dsc_addr_parse(&parsed, addr, NULL)) return NULL;
  dsc_own *own = dsc_registry_own_find_locked(r, app, dsc_str_of(parsed.text));
  return own && own->count > 0 ? own : NULL;
}

static bool await_gone_locked(dsc_registry *r, dsc_str app, dsc_str addr, uint32_t ms) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  long nanoseconds = until.tv_nsec + (long)(ms % 1000) * 1000000L;
  until.tv_sec += ms / 1000 + nanoseconds / 1000000000L;
  until.tv_nsec = nanoseconds % 1000000000L;
  for (;;) {
    /* found anew each time: it is freed once it has gone */
    dsc_own *own = dsc_registry_own_find_locked(r, app, addr);
    if (!own || (!own->sent && !own->busy) || own->count > 0) return true;
    if (ms == 0 || !r->store) return false;
    if (pthread_cond_timedwait(&r->told, r->lock, &until) != 0) ms = 0;
  }
}

bool dsc_registry_unregister(dsc_registry *registry, dsc_str app, dsc_str addr, uint32_t done_ms) {
  dsc_addr parsed;
  if (dsc_registry_run_is_forked(registry) || dsc_addr_parse(&parsed, addr, NULL)) return false;
  pthread_mutex_lock(registry->lock);
  dsc_own *own = find_spelled_locked(registry, app, addr);
  if (own && --own->count == 0) {
    own->retry_ms = 0;
    dsc_registry_run_kick_locked(registry);
  }
  if (done_ms > 0) registry->asked_ms = dsc_clock_now_ms();
  bool done = await_gone_locked(registry, app, dsc_str_of(parsed.text), done_ms);
  pthread_mutex_unlock(registry->lock);
  return done;
}

void dsc_registry_hand_over(dsc_registry *registry, dsc_str app, dsc_str addr) {
  if (dsc_registry_run_is_forked(registry)) return;
  pthread_mutex_lock(registry->lock);
  dsc_own *own = find_spelled_locked(registry, app, addr);
  if (own && --own->count == 0) {
    own->sent = own->stored = own->announced = false; /* nothing is left to be taken back */
    dsc_registry_run_kick_locked(registry);
  }
  pthread_mutex_unlock(registry->lock);
}

dsc_err dsc_registry_set_weight(dsc_registry *registry, dsc_str app, dsc_str addr, uint32_t weight) {
  if (dsc_registry_run_is_forked(registry)) return DSC_EFORKED;
  pthread_mutex_lock(registry->lock);
  dsc_own *own = find_spelled_locked(registry, app, addr);
  if (own) {
    own->weight = weight < DSC_WEIGHT_MAX ? weight : DSC_WEIGHT_MAX;
    own->changed = true;
    own->retry_ms = 0;
    dsc_registry_run_kick_locked(registry);
  }
  pthread_mutex_unlock(registry->lock);
  return own ? DSC_OK : DSC_EINVALID;
}

dsc_err dsc_registry_set_metadata(dsc_registry *registry, dsc_str app, dsc_str addr, const char *metadata) {
  if (dsc_registry_run_is_forked(registry)) return DSC_EFORKED;
  if (!metadata) return DSC_OK;
  char *copy = dsc_mem_strdup(dsc_str_of(metadata));
  if (!copy) return DSC_ENOMEM;
  pthread_mutex_lock(registry->lock);
  dsc_own *own = find_spelled_locked(registry, app, addr);
  if (own) {
    char *old = own->metadata;
    own->metadata = copy;
    copy = old;
    own->renewed = true;
    own->retry_ms = 0;
    dsc_registry_run_kick_locked(registry);
  }
  pthread_mutex_unlock(registry->lock);
  dsc_mem_free(copy);
  return own ? DSC_OK : DSC_EINVALID;
}

bool dsc_registry_is_registered(dsc_registry *registry, dsc_str app, dsc_str addr) {
  if (dsc_registry_run_is_forked(registry)) return false;
  pthread_mutex_lock(registry->lock);
  dsc_own *own = find_spelled_locked(registry, app, addr);
  bool is = own && (own->weight > 0 ? own->stored : !own->sent && !own->busy);
  pthread_mutex_unlock(registry->lock);
  return is;
}

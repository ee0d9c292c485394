/*
** balancer.c - the list of algorithms, and how they are found.
**
** Constant data only: any thread.
*/
#include "model/balancer_impl.h"

const dsc_balancer_ops *const dsc_balancer_all[DSC_BALANCER_COUNT] = {
    [DSC_BALANCER_LEAST_USED] = &dsc_balancer_least_used,
    [DSC_BALANCER_ROUND_ROBIN] = &dsc_balancer_round_robin,
    [DSC_BALANCER_RANDOM] = &dsc_balancer_random,
    [DSC_BALANCER_LEAST_IN_FLIGHT] = &dsc_balancer_least_in_flight,
    [DSC_BALANCER_HASH] = &dsc_balancer_hash,
};

const dsc_balancer_ops *dsc_balancer_find(dsc_str name, dsc_why *why) {
  for (int i = 0; i < DSC_BALANCER_COUNT; i++)
    if (dsc_str_equal(name, dsc_str_of(dsc_balancer_all[i]->name))) return dsc_balancer_all[i];
  (void)dsc_fail(why, DSC_EINVALID,
                 "no balancer is called \"%.*s\"; known are least_used, round_robin, random, least_in_flight, hash",
                 (int)(name.n < 64 ? name.n : 64), name.p ? name.p : "");
  return NULL;
}

const char *dsc_balancer_name(const dsc_balancer_ops *ops) {
  return ops->name;
}

int dsc_balancer_index(const dsc_balancer_ops *ops) {
  for (int i = 0; i < DSC_BALANCER_COUNT; i++)
    if (dsc_balancer_all[i] == ops) return i;
  return DSC_BALANCER_LEAST_USED;
}

bool dsc_balancer_is_barred(const dsc_pick *pick, const dsc_node *node) {
  if (pick->sparing && dsc_table_is_spared(pick->sparing, node)) return true;
  if (pick->node_limit && dsc_node_in_flight(node) >= pick->node_limit) return true;
  for (size_t i = 0; i < pick->n_tried; i++)
    if (pick->tried[i] == node) return true;
  return false;
}

/*
** discoverer_choose.c - which node a call goes to: the host's balancer if there is one, else the built-in order of
** the table.
**
** The host's balancer sees the nodes that were not tried and are not isolated (an isolated one whose probe is due
** is shown again, or it would never come back); when it fails, the built-in balancer picks.
*/
#include "base/clock.h"
#include "base/mem.h"
#include "core/discoverer_impl.h"

static dsc_pick make_pick(const dsc_discoverer *d, const dsc_app_client *ac, const dsc_choice *choice) {
  return (dsc_pick){.balancer = d->balancer,
                    .tried = ac->tried,
                    .n_tried = ac->n_tried,
                    .key = ac->key,
                    .has_key = ac->has_key,
                    .repeatable = choice->repeatable,
                    .probed = choice->probed,
                    .slot_ms = choice->slot_ms,
                    .node_limit = choice->node_limit};
}

static dsc_err no_node(const dsc_app_client *ac, dsc_table *table, const dsc_pick *pick, dsc_str addr, dsc_why *why) {
  if (dsc_table_is_full(table, addr, pick))
    return dsc_fail(why, DSC_EOVERLOAD, "app \"%.*s\": %s%.*s has max_in_flight_per_node = %u in flight",
                    DSC_STR_ARG(ac->app.s), addr.n ? "node " : "every node", DSC_STR_ARG(addr), pick->node_limit);
  if (addr.n)
    return dsc_fail(why, DSC_ENO_NODE, "app \"%.*s\" has no node %.*s that was not tried", DSC_STR_ARG(ac->app.s),
                    DSC_STR_ARG(addr));
  return dsc_fail(why, DSC_ENO_NODE, "app \"%.*s\" has no node%s", DSC_STR_ARG(ac->app.s),
                  ac->n_tried ? " that was not tried" : "");
}

/* Calls the host's balancer. Fails: DSC_EBALANCER, whatever the host said; DSC_EFORKED. */
static dsc_err call_next(dsc_frame *frame, dsc_app_client *ac, const dsc_node_array *nodes, dsc_node **chosen,
                         dsc_why *why) {
  dsc_discoverer *d = frame->d;
  *chosen = NULL;
  if (nodes->count == 0) return DSC_OK;
  dsc_discoverer_begin_callback(d);
  dsc_err err = d->hooks.next(frame->ctx, d->hooks.ud, ac, nodes->nodes, nodes->count, chosen, why);
  dsc_discoverer_end_callback(d);
  if (dsc_discoverer_is_forked(d)) return dsc_fail(why, DSC_EFORKED, "%s", dsc_err_text(DSC_EFORKED));
  return err ? DSC_EBALANCER : DSC_OK;
}

/* Asks the host's balancer. `*node` is counted and referenced, or NULL. Fails with `why`: DSC_EBALANCER, DSC_ENO_NODE
** (what it chose is gone meanwhile): the built-in one shall pick; DSC_ECALLBACK, DSC_EFORKED, DSC_ENOMEM. */
static dsc_err ask_host(dsc_frame *frame, dsc_app_client *ac, dsc_table *table, const dsc_pick *pick, dsc_node **node,
                        bool *is_probe, dsc_why *why) {
  if (frame->d->callbacks > DSC_MAX_DEPTH)
    return dsc_fail(why, DSC_ECALLBACK, "callbacks are nested more than %d deep", DSC_MAX_DEPTH);
  dsc_node_array *nodes = dsc_table_candidates(table, pick, dsc_clock_now_ms());
  if (!nodes) return dsc_fail(why, DSC_ENOMEM, "%s", dsc_err_text(DSC_ENOMEM));
  dsc_node *chosen;
  dsc_err err = call_next(frame, ac, nodes, &chosen, why);
  if (err == DSC_OK && chosen) {
    *node = dsc_table_pick_addr(table, dsc_node_addr(chosen), pick, is_probe);
    if (!*node) err = DSC_ENO_NODE;
  }
  dsc_node_array_unref(nodes);
  return err;
}

static void log_balancer(dsc_discoverer *d, const dsc_app_client *ac, const dsc_why *why) {
  dsc_why text;
  dsc_fail(&text, DSC_EBALANCER, "balancer: app \"%.*s\": %s; %s picks", DSC_STR_ARG(ac->app.s), why->text,
           d->balancer ? d->balancer->name : "least_used");
  dsc_discoverer_log(d, DSC_LOG_ERROR, text.text);
}

dsc_err dsc_discoverer_choose(dsc_frame *frame, dsc_app_client *ac, dsc_table *table, const dsc_choice *choice,
                              dsc_node **node, bool *is_probe, dsc_why *why) {
  dsc_discoverer *d = frame->d;
  dsc_pick pick = make_pick(d, ac, choice);
  dsc_str addr = choice->addr;
  *is_probe = false;
  *node = NULL;
  dsc_err err = DSC_OK;
  if (addr.n) {
    *node = dsc_table_pick_addr(table, addr, &pick, is_probe);
  } else if (d->hooks.next) {
    dsc_why trouble = {{0}};
    err = ask_host(frame, ac, table, &pick, node, is_probe, &trouble);
    if (err == DSC_EBALANCER) log_balancer(d, ac, &trouble);
    if (err && err != DSC_EBALANCER && err != DSC_ENO_NODE) return dsc_fail(why, err, "%s", trouble.text);
  }
  if (!*node && !addr.n && (!d->hooks.next || err)) *node = dsc_table_pick(table, &pick, is_probe);
  if (!*node) return no_node(ac, table, &pick, addr, why);
  if (dsc_app_client_add_tried(ac, *node) == DSC_OK) return DSC_OK;
  dsc_registry_node_done(d->registry, *node, DSC_OUTCOME_NEUTRAL, *is_probe, d->call_retry_times);
  dsc_node_unref(*node);
  *node = NULL;
  return dsc_fail(why, DSC_ENOMEM, "%s", dsc_err_text(DSC_ENOMEM));
}

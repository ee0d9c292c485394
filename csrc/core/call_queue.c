/*
** call_queue.c - when a call may go, and to which node.
**
** Invariants: a gate exists while somebody has a slot or stands in line; whoever is in line waits
** (DSC_CALL_WAITS_SLOT) or is just being looked at; `used` is the number of slots held. After each change that may let
** the first in line go, it is made ready and looks by itself, in its step: nothing is granted from outside, so nothing
** can be granted to a call that is ending. A node's slots are counted by the table, for all who share it: whoever
** gives one back tells the registry's holders, if a call waits there (`waiting` of the app's counters).
*/
#include "core/call_queue.h"

#include "base/clock.h"
#include "base/mem.h"
#include "core/call.h"

struct dsc_gate {
  /* owner's thread only */
  dsc_discoverer *d;
  dsc_link line; /* of dsc_call, by place.link: those that were sent, then the others in their order */
  uint32_t used, waiting;
  size_t n;
  char app[];
};

/* ---------------------------------------------------------------- gates */

static struct dsc_gate *find_gate(dsc_discoverer *d, dsc_str app) {
  return d->gates.count ? dsc_map_get(&d->gates, app) : NULL;
}

static struct dsc_gate *need_gate(dsc_discoverer *d, dsc_str app) {
  struct dsc_gate *gate = find_gate(d, app);
  if (gate) return gate;
  gate = dsc_mem_zalloc(1, sizeof *gate + app.n + 1);
  if (!gate) return NULL;
  gate->d = d;
  gate->n = app.n;
  memcpy(gate->app, app.p, app.n);
  dsc_list_init(&gate->line);
  if (dsc_map_put(&d->gates, (dsc_str){gate->app, gate->n}, gate, NULL) == DSC_OK) return gate;
  dsc_mem_free(gate);
  return NULL;
}

static dsc_call *call_of(dsc_link *link) {
  return DSC_LIST_ENTRY(link, dsc_call, place.link);
}

static bool was_sent(const dsc_call *call) {
  return call->step.attempts > 0;
}

/* The first that was not sent yet: those before it want other nodes and have their slots. NULL: none. */
static dsc_call *first_of(const struct dsc_gate *gate) {
  for (dsc_link *link = gate->line.next; link != &gate->line; link = link->next)
    if (!was_sent(call_of(link))) return call_of(link);
  return NULL;
}

static void wake_first(struct dsc_gate *gate) {
  for (dsc_link *link = gate->line.next; link != &gate->line; link = link->next) {
    dsc_call_make_ready(call_of(link));
    if (!was_sent(call_of(link))) return;
  }
}

/* Something changed: the first in line look, or the gate is no longer needed. */
static void poke(struct dsc_gate *gate) {
  wake_first(gate);
  if (gate->used > 0 || !dsc_list_empty(&gate->line)) return;
  dsc_map_take(&gate->d->gates, (dsc_str){gate->app, gate->n});
  dsc_mem_free(gate);
}

void dsc_call_queue_notify(dsc_discoverer *d) {
  size_t at = 0;
  for (struct dsc_gate *gate; (gate = dsc_map_next(&d->gates, &at));) wake_first(gate);
}

void dsc_call_queue_clear(dsc_discoverer *d) {
  size_t at = 0;
  for (struct dsc_gate *gate; (gate = dsc_map_next(&d->gates, &at));) dsc_mem_free(gate);
  dsc_map_clear(&d->gates);
}

/* ---------------------------------------------------------------- places */

static void count_waiting(dsc_call *call, int by) {
  dsc_counters *both[] = {dsc_registry_counters(call->d->registry), dsc_table_counters(call->table)};
  for (size_t i = 0; i < 2; i++) {
    atomic_fetch_add(&both[i]->waiting, (uint64_t)(int64_t)by);
    if (by > 0) atomic_fetch_add_explicit(&both[i]->queued, 1, memory_order_relaxed);
  }
}

static void leave_line(dsc_call *call) {
  dsc_place *place = &call->place;
  if (!place->in_line) return;
  dsc_list_remove(&place->link);
  place->in_line = false;
  place->gate->waiting--;
  count_waiting(call, -1);
}

void dsc_place_leave(dsc_place *place) {
  struct dsc_gate *gate = place->gate;
  if (!gate) return;
  if (place->has_slot) gate->used--;
  *place = (dsc_place){.since_ms = place->since_ms, .timed_out = place->timed_out};
  poke(gate);
}

void dsc_call_queue_leave(dsc_call *call) {
  leave_line(call);
  dsc_place_leave(&call->place);
}

void dsc_place_move(dsc_place *to, dsc_place *from) {
  *to = (dsc_place){.gate = from->gate, .has_slot = from->has_slot};
  *from = (dsc_place){0};
}

/* ---------------------------------------------------------------- going */

/* Takes a slot if the app has a limit. Fails: DSC_EOVERLOAD: it is not this call's turn; DSC_ENOMEM. */
static dsc_err take_slot(dsc_call *call) {
  uint32_t limit = call->config->max_in_flight;
  dsc_place *place = &call->place;
  if (place->has_slot || (!limit && !call->config->max_in_flight_per_node)) return DSC_OK;
  struct dsc_gate *gate = limit ? need_gate(call->d, call->ac.app.s) : find_gate(call->d, call->ac.app.s);
  if (limit && !gate) return dsc_fail(&call->why, DSC_ENOMEM, "%s", dsc_err_text(DSC_ENOMEM));
  dsc_call *first = gate ? first_of(gate) : NULL;
  if (first && first != call && !was_sent(call)) return DSC_EOVERLOAD;
  if (!limit) return DSC_OK;
  if (gate->used >= limit) return DSC_EOVERLOAD;
  gate->used++;
  place->gate = gate;
  place->has_slot = true;
  return DSC_OK;
}

static dsc_err pick(dsc_frame *frame, dsc_call *call) {
  const dsc_call_config *config = call->config;
  dsc_choice choice = {.addr = call->request->node,
                       .repeatable = call->step.repeatable,
                       .probed = config->probe != NULL,
                       .slot_ms = call->request->timeout_ms ? call->request->timeout_ms : config->timeout_ms,
                       .node_limit = config->max_in_flight_per_node};
  dsc_why why = {{0}};
  dsc_err err = dsc_discoverer_choose(frame, &call->ac, call->table, &choice, &call->node, &call->is_probe, &why);
  /* that no node is left says less than the last attempt's trouble */
  bool none_left = err == DSC_ENO_NODE || err == DSC_EOVERLOAD;
  if (err && (!none_left || !was_sent(call))) call->why = why;
  return err;
}

/* A slot that leads to no node is of use to nobody; it is taken again together with the node. */
static void untake_slot(dsc_place *place) {
  place->gate->used--;
  place->has_slot = false;
  if (!place->in_line) dsc_place_leave(place);
}

/* Takes both, or nothing. `*for_slot`: it was a slot that was missing. */
static dsc_err go(dsc_frame *frame, dsc_call *call, bool *for_slot) {
  bool had_slot = call->place.has_slot;
  dsc_err err = take_slot(call);
  *for_slot = err == DSC_EOVERLOAD;
  if (err) return err;
  err = pick(frame, call);
  if (!err && !was_sent(call)) dsc_table_count_call(call->table, dsc_clock_now_ms());
  if (err && !had_slot && call->place.has_slot) untake_slot(&call->place);
  return err;
}

/* ---------------------------------------------------------------- waiting */

/* Says what the call would have to wait for, and why it may not. */
static dsc_err refuse(dsc_call *call, bool for_slot, bool full) {
  const dsc_call_config *config = call->config;
  if (was_sent(call)) return DSC_EOVERLOAD; /* the last attempt says more */
  bool slots = for_slot && config->max_in_flight;
  dsc_fail(&call->why, DSC_EOVERLOAD, "app \"%.*s\": %s = %u in flight, and %s (queue = %u)",
           DSC_STR_ARG(call->ac.app.s), slots ? "there are max_in_flight" : "every node has max_in_flight_per_node",
           slots ? config->max_in_flight : config->max_in_flight_per_node,
           full && config->queue ? "as many wait as may" : "none may wait", config->queue);
  dsc_registry_tell_trouble(call->d->registry, call->table, DSC_EVENT_OVERLOAD, (dsc_str){0}, call->why.text);
  return DSC_EOVERLOAD;
}

static void enter_line(dsc_call *call, struct dsc_gate *gate) {
  dsc_place *place = &call->place;
  place->gate = gate;
  place->in_line = true;
  place->since_ms = dsc_clock_now_ms();
  dsc_list_init(&place->link);
  dsc_list_push(was_sent(call) ? gate->line.next : &gate->line, &place->link);
  gate->waiting++;
  count_waiting(call, 1);
}

static uint64_t time_left(const dsc_call *call) {
  uint64_t now_ms = dsc_clock_now_ms(), deadline_ms = call->step.deadline_ms;
  return deadline_ms > now_ms ? deadline_ms - now_ms : 0;
}

/* Puts the call in line. Fails: DSC_EOVERLOAD, DSC_ENOMEM. */
static dsc_err join(dsc_call *call, bool for_slot) {
  const dsc_call_config *config = call->config;
  struct dsc_gate *gate = find_gate(call->d, call->ac.app.s);
  bool full = gate && gate->waiting >= config->queue;
  if (config->queue == 0 || full) return refuse(call, for_slot, full);
  gate = need_gate(call->d, call->ac.app.s);
  if (!gate || !dsc_call_start_timer(call, time_left(call))) {
    if (gate) poke(gate);
    return dsc_fail(&call->why, DSC_ENOMEM, "%s", dsc_err_text(DSC_ENOMEM));
  }
  enter_line(call, gate);
  call->wait = DSC_CALL_WAITS_SLOT;
  /* a node may have become free before this call was counted as waiting */
  if (!for_slot) dsc_call_make_ready(call);
  return DSC_OK;
}

bool dsc_call_queue_pick(dsc_frame *frame, dsc_call *call, dsc_step_event *event) {
  bool for_slot;
  dsc_err err = go(frame, call, &for_slot);
  if (err == DSC_EOVERLOAD && !call->broken) {
    err = join(call, for_slot);
    if (!err) return false;
  }
  *event = (dsc_step_event){.kind = DSC_STEP_PICKED, .err = err};
  return true;
}

static dsc_err say_late(dsc_call *call) {
  const dsc_call_config *config = call->config;
  double waited = (double)(dsc_clock_now_ms() - call->place.since_ms) / 1000.0;
  call->place.timed_out = true;
  return dsc_fail(&call->why, DSC_ETIMEOUT,
                  "the deadline passed after %u attempt%s and %.3f s in the queue of app \"%.*s\" (max_in_flight = %u, "
                  "max_in_flight_per_node = %u)",
                  call->step.attempts, call->step.attempts == 1 ? "" : "s", waited, DSC_STR_ARG(call->ac.app.s),
                  config->max_in_flight, config->max_in_flight_per_node);
}

bool dsc_call_queue_look(dsc_frame *frame, dsc_call *call, bool late, dsc_step_event *event) {
  dsc_place *place = &call->place;
  dsc_err err = DSC_EOVERLOAD;
  bool for_slot;
  if (late)
    err = say_late(call);
  else if (was_sent(call) || first_of(place->gate) == call) {
    call->wait = DSC_CALL_WAITS_NOT; /* the host's balancer may run the loop */
    err = go(frame, call, &for_slot);
  }
  if (err == DSC_EOVERLOAD && !call->broken) {
    call->wait = DSC_CALL_WAITS_SLOT;
    return false;
  }
  struct dsc_gate *gate = place->gate;
  leave_line(call);
  if (place->has_slot)
    poke(gate); /* there may be room for the next */
  else
    dsc_place_leave(place);
  *event = (dsc_step_event){.kind = DSC_STEP_PICKED, .err = err};
  return true;
}

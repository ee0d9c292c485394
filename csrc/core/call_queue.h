/*
** call_queue.h - the limits on calls in flight: who may go now, who waits in line, who is sent away.
**
** Per app of a discoverer there is a gate while calls with a limit are under way: how many slots of `max_in_flight`
** are taken, and the line of calls that wait for a slot or for a node below `max_in_flight_per_node`. The first in the
** line goes first; a call that was sent before (it tries another node) stands before those that were not: it holds its
** slot. A slot is held until the call, its stream or its WebSocket ends. Owner's thread throughout.
*/
#ifndef DSC_CORE_CALL_QUEUE_H
#define DSC_CORE_CALL_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "core/discover.h"

struct dsc_call;
struct dsc_step_event;

/* What a call, and the WebSocket that it opened, has of the gate. Zeroed: nothing. */
typedef struct dsc_place {
  /* owner's thread only */
  struct dsc_gate *gate; /* NULL: neither a slot nor in line */
  bool has_slot;
  bool in_line;
  dsc_link link; /* of the gate's line, while in_line */
  uint64_t since_ms;
  bool timed_out; /* in line */
} dsc_place;

/* Takes a slot if the call needs one, and picks a node; or puts the call in line. In a frame, owner's thread. Returns
** false when it waits (DSC_CALL_WAITS_SLOT), else `event` is what the machine hears: DSC_EOVERLOAD when there is no
** room in line either, and all that dsc_discoverer_choose() fails with. */
bool dsc_call_queue_pick(dsc_frame *frame, struct dsc_call *call, struct dsc_step_event *event);

/* Looks again for a call in line. `late`: its deadline has passed. In a frame, owner's thread. Returns false when it
** goes on waiting, else as above; DSC_ETIMEOUT when it is late. */
bool dsc_call_queue_look(dsc_frame *frame, struct dsc_call *call, bool late, struct dsc_step_event *event);

/* Gives up what `place` has: its slot, its place in line. The next in line is told. Idempotent. Owner's thread. */
void dsc_call_queue_leave(struct dsc_call *call);

/* As above for a slot that was moved. Owner's thread. */
void dsc_place_leave(dsc_place *place);

/* Moves a slot: a WebSocket holds what its call held. `to` has nothing. Owner's thread. */
void dsc_place_move(dsc_place *to, dsc_place *from);

/* Makes the first of each line look again: nodes came, went, or have less in flight. Owner's thread. */
void dsc_call_queue_notify(dsc_discoverer *d);

/* Frees the gates that are left (after a fork: what was forgotten). Owner's thread. */
void dsc_call_queue_clear(dsc_discoverer *d);

#endif

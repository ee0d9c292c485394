/*
** step_test.c - the machine of a call, as tables of cases and as random walks that must always end.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "core/step.h"

#define NOW      1000
#define DEADLINE 31000

/* One attempt's end and what must follow. */
typedef struct row {
  const char *name;
  dsc_retry retry;
  bool repeatable, pinned;
  uint32_t max_attempts;
  dsc_step_event answer;
  dsc_step_action action;
  dsc_err err; /* with FINISH */
} row;

#define ANSWER(...)                                                                                                    \
  { .kind = DSC_STEP_ANSWERED, __VA_ARGS__ }

static const row rows[] = {
    {"200 ends", 0, true, false, 0, ANSWER(.status = 200, .sent = true), DSC_STEP_FINISH, DSC_OK},
    {"404 is an answer", 0, true, false, 0, ANSWER(.status = 404, .sent = true), DSC_STEP_FINISH, DSC_OK},
    {"500 is an answer", 0, true, false, 0, ANSWER(.status = 500, .sent = true), DSC_STEP_FINISH, DSC_OK},
    {"501 is an answer", 0, true, false, 0, ANSWER(.status = 501, .sent = true), DSC_STEP_FINISH, DSC_OK},
    {"505 is an answer", 0, true, false, 0, ANSWER(.status = 505, .sent = true), DSC_STEP_FINISH, DSC_OK},
    {"502 of a GET backs off", 0, true, false, 0, ANSWER(.status = 502, .sent = true), DSC_STEP_SLEEP, 0},
    {"502 of a POST is kept", 0, false, false, 0, ANSWER(.status = 502, .sent = true), DSC_STEP_FINISH, DSC_OK},
    {"503 of a POST backs off", 0, false, false, 0, ANSWER(.status = 503, .sent = true), DSC_STEP_SLEEP, 0},
    {"504 of a POST is kept", 0, false, false, 0, ANSWER(.status = 504, .sent = true), DSC_STEP_FINISH, DSC_OK},
    {"refused: the next at once", 0, false, false, 0, ANSWER(.err = DSC_ECONNECT, .refused = true), DSC_STEP_PICK, 0},
    {"POST lost after sending", 0, false, false, 0, ANSWER(.err = DSC_ECONNECT, .sent = true), DSC_STEP_FINISH,
     DSC_ECONNECT},
    {"POST timed out after sending", 0, false, false, 0, ANSWER(.err = DSC_ETIMEOUT, .sent = true), DSC_STEP_FINISH,
     DSC_ETIMEOUT},
    {"POST that was not begun with", 0, false, false, 0, ANSWER(.err = DSC_ECONNECT, .sent = true, .unbegun = true),
     DSC_STEP_SLEEP, 0},
    {"never: not even then", DSC_RETRY_NEVER, false, false, 0,
     ANSWER(.err = DSC_ECONNECT, .sent = true, .unbegun = true), DSC_STEP_FINISH, DSC_ECONNECT},
    {"POST timed out connecting", 0, false, false, 0, ANSWER(.err = DSC_ETIMEOUT), DSC_STEP_SLEEP, 0},
    {"GET lost after sending", 0, true, false, 0, ANSWER(.err = DSC_ECONNECT, .sent = true), DSC_STEP_SLEEP, 0},
    {"GET broken protocol", 0, true, false, 0, ANSWER(.err = DSC_EPROTOCOL, .sent = true), DSC_STEP_SLEEP, 0},
    {"too large is the caller's", 0, true, false, 0, ANSWER(.err = DSC_ETOO_LARGE, .sent = true), DSC_STEP_FINISH,
     DSC_ETOO_LARGE},
    {"invalid is the caller's", 0, true, false, 0, ANSWER(.err = DSC_EINVALID), DSC_STEP_FINISH, DSC_EINVALID},
    {"our descriptors ran out", 0, true, false, 0, ANSWER(.err = DSC_EIO, .ours = true), DSC_STEP_SLEEP, 0},
    {"pinned ends", 0, true, true, 0, ANSWER(.err = DSC_ECONNECT, .refused = true), DSC_STEP_FINISH, DSC_ECONNECT},
    {"pinned 503 ends", 0, true, true, 0, ANSWER(.status = 503, .sent = true), DSC_STEP_FINISH, DSC_OK},
    {"never ends", DSC_RETRY_NEVER, true, false, 0, ANSWER(.err = DSC_ECONNECT, .refused = true), DSC_STEP_FINISH,
     DSC_ECONNECT},
    {"always repeats a POST", DSC_RETRY_ALWAYS, false, false, 0, ANSWER(.err = DSC_ETIMEOUT, .sent = true),
     DSC_STEP_SLEEP, 0},
    {"one attempt allowed", 0, true, false, 1, ANSWER(.err = DSC_ECONNECT, .refused = true), DSC_STEP_FINISH,
     DSC_ECONNECT},
    {"a spent body is not repeated", 0, true, false, 0, ANSWER(.err = DSC_ECONNECT, .sent = true, .spent = true),
     DSC_STEP_FINISH, DSC_ECONNECT},
    {"nor on 503", 0, true, false, 0, ANSWER(.status = 503, .sent = true, .spent = true), DSC_STEP_FINISH, DSC_OK},
    {"nor always", DSC_RETRY_ALWAYS, false, false, 0, ANSWER(.err = DSC_ETIMEOUT, .spent = true), DSC_STEP_FINISH,
     DSC_ETIMEOUT},
    {"a body that failed ends", 0, true, false, 0, ANSWER(.err = DSC_EIO, .ours = true, .spent = true), DSC_STEP_FINISH,
     DSC_EIO},
    {"two attempts allowed", 0, true, false, 2, ANSWER(.err = DSC_ECONNECT, .refused = true), DSC_STEP_PICK, 0},
};

/* Brings a machine to the point where one attempt is under way. */
static dsc_step sending(const row *r) {
  dsc_step step;
  dsc_step_init(&step, r->retry, DEADLINE);
  step.repeatable = r->repeatable;
  step.pinned = r->pinned;
  step.max_attempts = r->max_attempts;
  dsc_step_event event = {.kind = DSC_STEP_BEGIN};
  assert_int_equal(dsc_step_next(&step, &event, NOW, 0.5), DSC_STEP_ROUTE);
  event.kind = DSC_STEP_ROUTED;
  assert_int_equal(dsc_step_next(&step, &event, NOW, 0.5), DSC_STEP_FIND);
  event.kind = DSC_STEP_FOUND;
  assert_int_equal(dsc_step_next(&step, &event, NOW, 0.5), DSC_STEP_PICK);
  event.kind = DSC_STEP_PICKED;
  assert_int_equal(dsc_step_next(&step, &event, NOW, 0.5), DSC_STEP_SEND);
  return step;
}

static void first_attempt_ends(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    dsc_step step = sending(&rows[i]);
    dsc_step_action action = dsc_step_next(&step, &rows[i].answer, NOW, 0.5);
    if (action != rows[i].action) fail_msg("%s: action %d, not %d", rows[i].name, action, rows[i].action);
    if (action == DSC_STEP_FINISH && step.err != rows[i].err)
      fail_msg("%s: %s, not %s", rows[i].name, dsc_err_name(step.err), dsc_err_name(rows[i].err));
  }
}

static const row get = {"", 0, true, false, 0, {0}, 0, 0};

static void nothing_to_pick(void **state) {
  (void)state;
  dsc_step step = sending(&get);
  dsc_step_event refused = ANSWER(.err = DSC_ECONNECT, .refused = true);
  dsc_step_event none = {.kind = DSC_STEP_PICKED, .err = DSC_ENO_NODE};
  dsc_step_event some = {.kind = DSC_STEP_PICKED};
  dsc_step_next(&step, &refused, NOW, 0.5);
  assert_int_equal(dsc_step_next(&step, &none, NOW, 0.5), DSC_STEP_FINISH);
  assert_int_equal(step.err, DSC_ECONNECT); /* one attempt: its own code */
  step = sending(&get);
  dsc_step_next(&step, &refused, NOW, 0.5);
  dsc_step_next(&step, &some, NOW, 0.5);
  dsc_step_next(&step, &refused, NOW, 0.5);
  assert_int_equal(dsc_step_next(&step, &none, NOW, 0.5), DSC_STEP_FINISH);
  assert_int_equal(step.err, DSC_EALL_FAILED);
  dsc_step_init(&step, DSC_RETRY_IDEMPOTENT, DEADLINE);
  assert_int_equal(dsc_step_next(&step, &none, NOW, 0.5), DSC_STEP_FINISH);
  assert_int_equal(step.err, DSC_ENO_NODE);
}

static void the_last_answer_of_several(void **state) {
  (void)state;
  dsc_step_event bad = ANSWER(.status = 503, .sent = true), good = ANSWER(.status = 200, .sent = true);
  dsc_step_event none = {.kind = DSC_STEP_PICKED, .err = DSC_ENO_NODE};
  dsc_step step = sending(&get);
  dsc_step_next(&step, &bad, NOW, 0.5);
  assert_int_equal(dsc_step_next(&step, &none, NOW, 0.5), DSC_STEP_FINISH);
  assert_int_equal(step.err, DSC_OK); /* one attempt and it was answered */
  step = sending(&get);
  step.attempts = 2;
  dsc_step_event failed = ANSWER(.err = DSC_EIO, .ours = true, .spent = true);
  assert_int_equal(dsc_step_next(&step, &failed, NOW, 0.5), DSC_STEP_FINISH);
  assert_int_equal(step.err, DSC_EIO); /* not what the nodes did, but what the body did */
  step = sending(&get);
  step.attempts = 2;
  assert_int_equal(dsc_step_next(&step, &good, NOW, 0.5), DSC_STEP_FINISH);
  assert_int_equal(step.err, DSC_OK);
}

static void the_deadline_ends_everything(void **state) {
  (void)state;
  static const dsc_step_event_kind kinds[] = {DSC_STEP_ROUTED, DSC_STEP_FOUND, DSC_STEP_PICKED, DSC_STEP_SLEPT};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    dsc_step step = sending(&get);
    dsc_step_event event = {.kind = kinds[i]};
    assert_int_equal(dsc_step_next(&step, &event, DEADLINE, 0.5), DSC_STEP_FINISH);
    assert_int_equal(step.err, DSC_ETIMEOUT);
  }
  dsc_step step = sending(&get);
  dsc_step_event late = ANSWER(.err = DSC_ETIMEOUT, .sent = true), answer = ANSWER(.status = 200, .sent = true);
  assert_int_equal(dsc_step_next(&step, &late, DEADLINE - 1, 0.5), DSC_STEP_FINISH);
  assert_int_equal(step.err, DSC_ETIMEOUT);
  step = sending(&get);
  assert_int_equal(dsc_step_next(&step, &answer, DEADLINE + 1, 0.5), DSC_STEP_FINISH);
  assert_int_equal(step.err, DSC_OK); /* an answer that is there is not thrown away */
}

static void back_off_is_bounded(void **state) {
  (void)state;
  dsc_step_event lost = ANSWER(.err = DSC_ECONNECT, .sent = true), slept = {.kind = DSC_STEP_SLEPT};
  dsc_step_event picked = {.kind = DSC_STEP_PICKED};
  static const uint64_t ceilings[] = {25, 50, 100, 200, 250, 250, 250};
  dsc_step step = sending(&get);
  for (size_t i = 0; i < sizeof ceilings / sizeof *ceilings; i++) {
    assert_int_equal(dsc_step_next(&step, &lost, NOW, 0.999999), DSC_STEP_SLEEP);
    assert_in_range(step.sleep_ms, ceilings[i] - 1, ceilings[i]);
    assert_int_equal(dsc_step_next(&step, &slept, NOW, 0), DSC_STEP_PICK);
    assert_int_equal(dsc_step_next(&step, &picked, NOW, 0), DSC_STEP_SEND);
  }
  assert_int_equal(dsc_step_next(&step, &lost, DEADLINE - 40, 0.999999), DSC_STEP_SLEEP);
  assert_in_range(step.sleep_ms, 15, 20); /* half of what is left */
}

static void broken_from_outside(void **state) {
  (void)state;
  dsc_step step = sending(&get);
  dsc_step_event broken = {.kind = DSC_STEP_BROKEN, .err = DSC_ESTOPPED};
  assert_int_equal(dsc_step_next(&step, &broken, NOW, 0.5), DSC_STEP_FINISH);
  assert_int_equal(step.err, DSC_ESTOPPED);
}

/* The last attempt is the call's: an answer stays an answer, a failure names itself. */
static void a_retry_that_is_not_allowed(void **state) {
  (void)state;
  static const dsc_step_event denied = {.kind = DSC_STEP_DENIED};
  static const dsc_step_event busy = ANSWER(.status = 503, .sent = true), lost = ANSWER(.err = DSC_ECONNECT);
  static const dsc_step_event picked = {.kind = DSC_STEP_PICKED}, slept = {.kind = DSC_STEP_SLEPT};
  dsc_step step = sending(&get);
  dsc_step_next(&step, &lost, NOW, 0.5);
  dsc_step_next(&step, &slept, NOW, 0.5);
  dsc_step_next(&step, &picked, NOW, 0.5);
  assert_int_equal(dsc_step_next(&step, &busy, NOW, 0.5), DSC_STEP_SLEEP);
  assert_int_equal(dsc_step_next(&step, &denied, 0, 0), DSC_STEP_FINISH);
  assert_int_equal(step.err, DSC_OK);
  assert_true(step.denied);
  step = sending(&get);
  dsc_step_next(&step, &lost, NOW, 0.5);
  assert_int_equal(dsc_step_next(&step, &denied, 0, 0), DSC_STEP_FINISH);
  assert_int_equal(step.err, DSC_ECONNECT);
}

/* Nodes that may not be used for now end a call as nodes that are not there: by its last attempt, if there was one. */
static void nodes_that_are_full(void **state) {
  (void)state;
  static const dsc_step_event full = {.kind = DSC_STEP_PICKED, .err = DSC_EOVERLOAD};
  static const dsc_step_event lost = ANSWER(.err = DSC_ECONNECT), slept = {.kind = DSC_STEP_SLEPT};
  dsc_step step = sending(&get);
  dsc_step_next(&step, &lost, NOW, 0.5);
  dsc_step_next(&step, &slept, NOW, 0.5);
  assert_int_equal(dsc_step_next(&step, &full, NOW, 0), DSC_STEP_FINISH);
  assert_int_equal(step.err, DSC_ECONNECT);
  dsc_step_init(&step, DSC_RETRY_IDEMPOTENT, DEADLINE);
  assert_int_equal(dsc_step_next(&step, &full, NOW, 0), DSC_STEP_FINISH);
  assert_int_equal(step.err, DSC_EOVERLOAD);
}

static void what_is_held_against_a_node(void **state) {
  (void)state;
  static const struct {
    dsc_step_event answer;
    dsc_outcome outcome;
  } cases[] = {
      {ANSWER(.status = 200), DSC_OUTCOME_SUCCESS},
      {ANSWER(.status = 404), DSC_OUTCOME_SUCCESS},
      {ANSWER(.status = 500), DSC_OUTCOME_SUCCESS},
      {ANSWER(.status = 502), DSC_OUTCOME_FAILURE},
      {ANSWER(.status = 503), DSC_OUTCOME_FAILURE},
      {ANSWER(.status = 504), DSC_OUTCOME_FAILURE},
      {ANSWER(.err = DSC_ECONNECT), DSC_OUTCOME_FAILURE},
      {ANSWER(.err = DSC_ETIMEOUT), DSC_OUTCOME_FAILURE},
      {ANSWER(.err = DSC_EPROTOCOL), DSC_OUTCOME_FAILURE},
      {ANSWER(.err = DSC_ETLS), DSC_OUTCOME_FAILURE},
      {ANSWER(.err = DSC_ETOO_LARGE), DSC_OUTCOME_NEUTRAL},
      {ANSWER(.err = DSC_EINVALID), DSC_OUTCOME_NEUTRAL},
      {ANSWER(.err = DSC_ECANCELED), DSC_OUTCOME_NEUTRAL},
      {ANSWER(.err = DSC_ECONNECT, .ours = true), DSC_OUTCOME_NEUTRAL},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_int_equal(dsc_step_outcome(&cases[i].answer), cases[i].outcome);
}

/* An event that may follow an action, by chance. */
static dsc_step_event random_event(dsc_step_action action) {
  dsc_step_event event = {0};
  uint64_t dice = dsc_random_u64();
  bool fails = dice % 3 != 0;
  static const dsc_err errs[] = {DSC_ECONNECT,  DSC_ETIMEOUT, DSC_ETLS, DSC_EPROTOCOL, DSC_ETOO_LARGE,
                                 DSC_ECANCELED, DSC_EINVALID, DSC_EIO,  DSC_ENOMEM};
  switch (action) {
  case DSC_STEP_ROUTE: event.kind = DSC_STEP_ROUTED; break;
  case DSC_STEP_FIND: event.kind = DSC_STEP_FOUND; break;
  case DSC_STEP_PICK:
    event.kind = DSC_STEP_PICKED;
    event.err = dice % 17 == 0 ? DSC_ENO_NODE : DSC_OK;
    break;
  case DSC_STEP_SEND:
    event.kind = DSC_STEP_ANSWERED;
    event.err = fails ? errs[dice / 7 % (sizeof errs / sizeof *errs)] : DSC_OK;
    event.status = event.err ? 0 : (int)(200 + dice / 11 % 400);
    event.sent = dice / 13 % 2;
    event.refused = dice / 29 % 2;
    event.ours = dice / 31 % 8 == 0;
    break;
  default: event.kind = DSC_STEP_SLEPT;
  }
  return event;
}

static void random_walks_end(void **state) {
  (void)state;
  for (int i = 0; i < 100000; i++) {
    dsc_step step;
    dsc_step_init(&step, (dsc_retry)(dsc_random_u64() % 3), DEADLINE);
    step.repeatable = dsc_random_u64() % 2;
    step.pinned = dsc_random_u64() % 4 == 0;
    step.max_attempts = (uint32_t)(dsc_random_u64() % 5);
    uint64_t now = NOW;
    dsc_step_event event = {.kind = DSC_STEP_BEGIN};
    dsc_step_action action = dsc_step_next(&step, &event, now, 0);
    bool unsafe = false; /* a request that may not be repeated has gone out */
    for (int n = 0; action != DSC_STEP_FINISH; n++) {
      assert_true(n < 10000);
      event = random_event(action);
      now += action == DSC_STEP_SLEEP ? step.sleep_ms : dsc_random_u64() % 1000;
      if (action == DSC_STEP_SEND) {
        assert_false(unsafe);
        bool may = step.repeatable || step.retry == DSC_RETRY_ALWAYS;
        unsafe = event.sent && !may && event.status != 503;
      }
      action = dsc_step_next(&step, &event, now, dsc_random_unit());
      if (action == DSC_STEP_SLEEP) assert_true(now + step.sleep_ms <= DEADLINE);
    }
    if (step.pinned || step.retry == DSC_RETRY_NEVER) assert_true(step.attempts <= 1);
    if (step.max_attempts) assert_true(step.attempts <= step.max_attempts);
    if (step.err == DSC_EALL_FAILED) assert_true(step.attempts > 1);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(first_attempt_ends),          cmocka_unit_test(nothing_to_pick),
      cmocka_unit_test(the_last_answer_of_several),  cmocka_unit_test(the_deadline_ends_everything),
      cmocka_unit_test(back_off_is_bounded),         cmocka_unit_test(broken_from_outside),
      cmocka_unit_test(what_is_held_against_a_node), cmocka_unit_test(random_walks_end),
      cmocka_unit_test(a_retry_that_is_not_allowed), cmocka_unit_test(nodes_that_are_full),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

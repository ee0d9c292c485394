/*
** health_test.c - the law of isolation: cases as a script, and properties over random outcomes.
*/
#include "base/check.h"

#include "model/health.h"

#define LIMIT 3

struct step {
  char outcome; /* f, s, n; capitals: of the probe; p: begin a probe that lapses after 5 s */
  uint64_t at_ms;
  dsc_health_state state;
  uint32_t failures;
  uint64_t until_ms; /* 0: not looked at */
};

#define UP       DSC_HEALTH_UP
#define ISOLATED DSC_HEALTH_ISOLATED
#define PROBING  DSC_HEALTH_PROBING

static dsc_outcome outcome_of(char c) {
  if (c == 'f' || c == 'F') return DSC_OUTCOME_FAILURE;
  return c == 's' || c == 'S' ? DSC_OUTCOME_SUCCESS : DSC_OUTCOME_NEUTRAL;
}

static void run(const struct step *steps, size_t n, double jitter) {
  dsc_health health = {0};
  for (size_t i = 0; i < n; i++) {
    const struct step *s = &steps[i];
    dsc_health_state before = health.state;
    dsc_health_change change = DSC_HEALTH_SAME, expected = DSC_HEALTH_SAME;
    if (s->outcome == 'p')
      dsc_health_begin_probe(&health, s->at_ms + 5000);
    else
      change = dsc_health_apply(&health, outcome_of(s->outcome), s->outcome < 'a', LIMIT, s->at_ms, jitter);
    if (before == UP && s->state == ISOLATED) expected = DSC_HEALTH_WAS_ISOLATED;
    if (before != UP && s->state == UP) expected = DSC_HEALTH_RECOVERED;
    assert_int_equal(health.state, s->state);
    assert_int_equal(health.failures, s->failures);
    assert_int_equal(change, expected);
    if (s->until_ms) assert_int_equal(health.until_ms, s->until_ms);
  }
}

TEST(failures_in_a_row_isolate) {
  static const struct step steps[] = {{'f', 1, UP, 1, 0},           {'f', 2, UP, 2, 0}, {'s', 3, UP, 0, 0},
                                      {'f', 4, UP, 1, 0},           {'n', 5, UP, 1, 0}, {'f', 6, UP, 2, 0},
                                      {'f', 100, ISOLATED, 3, 1100}};
  run(steps, COUNT(steps), 0.5);
}

TEST(the_period_doubles_with_each_failed_probe_up_to_ten_seconds) {
  static const struct step steps[] = {{'f', 0, UP, 1, 0},
                                      {'f', 0, UP, 2, 0},
                                      {'f', 0, ISOLATED, 3, 1000},
                                      {'p', 1000, PROBING, 3, 6000},
                                      {'F', 1001, ISOLATED, 4, 3001},
                                      {'p', 4000, PROBING, 4, 9000},
                                      {'F', 4000, ISOLATED, 5, 8000},
                                      {'p', 8000, PROBING, 5, 13000},
                                      {'F', 8000, ISOLATED, 6, 16000},
                                      {'p', 16000, PROBING, 6, 21000},
                                      {'F', 16000, ISOLATED, 7, 26000},
                                      {'p', 26000, PROBING, 7, 31000},
                                      {'F', 26000, ISOLATED, 8, 36000},
                                      {'p', 36000, PROBING, 8, 0},
                                      {'S', 36001, UP, 0, 0}};
  run(steps, COUNT(steps), 0.5);
}

TEST(the_last_period_is_remembered_and_decays) {
  static const struct {
    uint64_t pause_ms;
    uint64_t period_ms;
  } cases[] = {{0, 8000}, {9999, 8000}, {10000, 4000}, {20000, 2000}, {30000, 1000}, {1000000, 1000}};
  for (size_t i = 0; i < COUNT(cases); i++) {
    dsc_health health = {.state = UP, .period_ms = 4000, .recovered_ms = 500};
    uint64_t now = 500 + cases[i].pause_ms;
    assert_int_equal(dsc_health_apply(&health, DSC_OUTCOME_FAILURE, false, 1, now, 0.5), DSC_HEALTH_WAS_ISOLATED);
    assert_int_equal(health.until_ms, now + cases[i].period_ms);
  }
}

TEST(jitter_spreads_by_half) {
  static const struct {
    double jitter;
    uint64_t until_ms;
  } cases[] = {{0, 500}, {0.25, 750}, {0.5, 1000}, {0.999, 1499}};
  for (size_t i = 0; i < COUNT(cases); i++) {
    dsc_health health = {0};
    dsc_health_apply(&health, DSC_OUTCOME_FAILURE, false, 1, 0, cases[i].jitter);
    assert_int_equal(health.until_ms, cases[i].until_ms);
  }
}

TEST(a_neutral_probe_frees_the_slot) {
  static const struct step steps[] = {{'f', 0, UP, 1, 0},
                                      {'f', 0, UP, 2, 0},
                                      {'f', 0, ISOLATED, 3, 1000},
                                      {'p', 1500, PROBING, 3, 6500},
                                      {'n', 1600, PROBING, 3, 6500},
                                      {'N', 1700, ISOLATED, 3, 1700},
                                      {'N', 1800, ISOLATED, 3, 1700}};
  run(steps, COUNT(steps), 0.5);
}

TEST(others_than_the_probe_bring_back_but_never_prolong) {
  static const struct step steps[] = {{'f', 0, UP, 1, 0},
                                      {'f', 0, UP, 2, 0},
                                      {'f', 0, ISOLATED, 3, 1000},
                                      {'f', 900, ISOLATED, 4, 1000},
                                      {'p', 1500, PROBING, 4, 6500},
                                      {'f', 1600, PROBING, 5, 6500},
                                      {'s', 1700, UP, 0, 0},
                                      {'F', 1800, UP, 1, 0}};
  run(steps, COUNT(steps), 0.5);
}

TEST(a_probe_is_due_after_the_period_and_after_a_lapsed_slot) {
  dsc_health health = {0};
  assert_false(dsc_health_probe_due(&health, UINT64_MAX));
  dsc_health_apply(&health, DSC_OUTCOME_FAILURE, false, 1, 0, 0.5);
  assert_false(dsc_health_probe_due(&health, 999));
  assert_true(dsc_health_probe_due(&health, 1000));
  dsc_health_begin_probe(&health, 3000);
  assert_false(dsc_health_probe_due(&health, 2999));
  assert_true(dsc_health_probe_due(&health, 3000));
}

TEST(properties_hold_over_random_outcomes) {
  uint64_t seed = 7, now = 1;
  dsc_health health = {0};
  for (int i = 0; i < 100000; i++) {
    dsc_health old = health;
    now += pick_below(&seed, 3000);
    if (dsc_health_probe_due(&health, now)) dsc_health_begin_probe(&health, now + 1000);
    bool probe = health.state == PROBING && pick_below(&seed, 2);
    dsc_outcome outcome = (dsc_outcome)pick_below(&seed, 3);
    double jitter = (double)pick_below(&seed, 1000) / 1000;
    dsc_health_change change = dsc_health_apply(&health, outcome, probe, LIMIT, now, jitter);
    assert_true(health.period_ms == 0 || (health.period_ms >= 1000 && health.period_ms <= 10000));
    assert_true(health.state != UP || health.failures < LIMIT);
    assert_int_equal(change == DSC_HEALTH_WAS_ISOLATED, old.state == UP && health.state != UP);
    assert_int_equal(change == DSC_HEALTH_RECOVERED, old.state != UP && health.state == UP);
    if (outcome == DSC_OUTCOME_SUCCESS) assert_true(health.state == UP && health.failures == 0);
    if (health.state == ISOLATED) assert_true(health.until_ms <= now + 15000);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(failures_in_a_row_isolate),
      cmocka_unit_test(the_period_doubles_with_each_failed_probe_up_to_ten_seconds),
      cmocka_unit_test(the_last_period_is_remembered_and_decays),
      cmocka_unit_test(jitter_spreads_by_half),
      cmocka_unit_test(a_neutral_probe_frees_the_slot),
      cmocka_unit_test(others_than_the_probe_bring_back_but_never_prolong),
      cmocka_unit_test(a_probe_is_due_after_the_period_and_after_a_lapsed_slot),
      cmocka_unit_test(properties_hold_over_random_outcomes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
** mailbox_test.c - exactly once, in each writer's order, and nothing stranded.
*/
#include "check.h"

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "base/mailbox.h"

#define WRITERS 4
#define EACH    20000

struct item {
  dsc_link link;
  int writer, number;
  bool accepted; /* writer's thread, until joined */
  int taken;     /* reader's thread */
};

static struct item items[WRITERS][EACH];
static dsc_mailbox box;
static sem_t rung;
static atomic_int rings;

static void ring(void *ud) {
  atomic_fetch_add((atomic_int *)ud, 1);
  sem_post(&rung);
}

static int set_up(void **state) {
  (void)state;
  for (int w = 0; w < WRITERS; w++)
    for (int i = 0; i < EACH; i++) items[w][i] = (struct item){.writer = w, .number = i};
  atomic_store(&rings, 0);
  sem_init(&rung, 0, 0);
  dsc_mailbox_init(&box, ring, &rings);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  dsc_mailbox_fini(&box);
  sem_destroy(&rung);
  return 0;
}

static void *write_all(void *own) {
  struct item *mine = own;
  for (int i = 0; i < EACH; i++) mine[i].accepted = dsc_mailbox_post(&box, &mine[i].link);
  return NULL;
}

static void start(pthread_t *threads) {
  for (int w = 0; w < WRITERS; w++) assert_int_equal(pthread_create(&threads[w], NULL, write_all, items[w]), 0);
}

static void join(pthread_t *threads) {
  for (int w = 0; w < WRITERS; w++) pthread_join(threads[w], NULL);
}

/* Counts what came and checks that no writer's items overtook each other. */
static int account(dsc_link *came, int *next) {
  int n = 0;
  for (dsc_link *link; (link = dsc_list_pop(came)); n++) {
    struct item *item = DSC_LIST_ENTRY(link, struct item, link);
    assert_int_equal(item->number, next[item->writer]++);
    item->taken++;
  }
  return n;
}

/* Waits for the bell; a lost one ends the test instead of hanging it. */
static void wait_for_bell(void) {
  struct timespec limit;
  clock_gettime(CLOCK_REALTIME, &limit);
  limit.tv_sec += 60;
  int rc;
  while ((rc = sem_timedwait(&rung, &limit)) != 0 && errno == EINTR) continue;
  assert_int_equal(rc, 0);
}

TEST(four_writers_exactly_once) {
  pthread_t threads[WRITERS];
  int next[WRITERS] = {0}, n = 0;
  dsc_link came;
  dsc_list_init(&came);
  start(threads);
  while (n < WRITERS * EACH) {
    wait_for_bell(); /* alone: whoever is rung and takes everything misses nothing */
    dsc_mailbox_take(&box, &came);
    n += account(&came, next);
  }
  join(threads);
  assert_false(dsc_mailbox_take(&box, &came));
  for (int w = 0; w < WRITERS; w++)
    for (int i = 0; i < EACH; i++) assert_true(items[w][i].accepted && items[w][i].taken == 1);
  dsc_mailbox_close(&box, &came);
}

TEST(closing_amid_posts_strands_nothing) {
  pthread_t threads[WRITERS];
  int next[WRITERS] = {0}, n = 0, accepted = 0;
  dsc_link came;
  dsc_list_init(&came);
  start(threads);
  while (n < EACH) {
    wait_for_bell();
    dsc_mailbox_take(&box, &came);
    n += account(&came, next);
  }
  dsc_mailbox_close(&box, &came);
  n += account(&came, next);
  join(threads);
  assert_false(dsc_mailbox_take(&box, &came));
  for (int w = 0; w < WRITERS; w++) {
    for (int i = 0; i < EACH; i++) {
      assert_int_equal(items[w][i].taken, items[w][i].accepted);
      accepted += items[w][i].accepted;
    }
  }
  assert_int_equal(accepted, n);
}

TEST(only_the_first_post_rings) {
  dsc_link came;
  dsc_list_init(&came);
  for (int i = 0; i < 5; i++) assert_true(dsc_mailbox_post(&box, &items[0][i].link));
  assert_int_equal(atomic_load(&rings), 1);
  assert_true(dsc_mailbox_take(&box, &came));
  assert_true(dsc_mailbox_post(&box, &items[0][5].link));
  assert_int_equal(atomic_load(&rings), 2);
  assert_true(dsc_mailbox_take(&box, &came)); /* behind what is there already */
  int next[WRITERS] = {0};
  assert_int_equal(account(&came, next), 6);
  dsc_mailbox_close(&box, &came);
}

TEST(a_closed_box_refuses) {
  dsc_link came;
  dsc_list_init(&came);
  dsc_mailbox_post(&box, &items[0][0].link);
  dsc_mailbox_close(&box, &came);
  assert_ptr_equal(dsc_list_pop(&came), &items[0][0].link);
  assert_false(dsc_mailbox_post(&box, &items[0][1].link));
  assert_int_equal(atomic_load(&rings), 1);
  dsc_mailbox_close(&box, &came);
  assert_true(dsc_list_empty(&came));
}

/* A bell may look into the box: it rings under no lock. */
static void ring_and_take(void *ud) {
  dsc_mailbox_take(&box, ud);
}

TEST(the_bell_rings_under_no_lock) {
  dsc_link came;
  dsc_list_init(&came);
  dsc_mailbox_fini(&box);
  dsc_mailbox_init(&box, ring_and_take, &came);
  assert_true(dsc_mailbox_post(&box, &items[0][0].link));
  assert_ptr_equal(dsc_list_pop(&came), &items[0][0].link);
  dsc_mailbox_close(&box, &came);
  dsc_mailbox_fini(&box);
  dsc_mailbox_init(&box, NULL, NULL);
  assert_true(dsc_mailbox_post(&box, &items[0][0].link)); /* no bell at all */
  dsc_mailbox_close(&box, &came);
}

#define BOX_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      BOX_TEST(four_writers_exactly_once),    BOX_TEST(closing_amid_posts_strands_nothing),
      BOX_TEST(only_the_first_post_rings),    BOX_TEST(a_closed_box_refuses),
      BOX_TEST(the_bell_rings_under_no_lock),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

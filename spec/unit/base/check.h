/*
** check.h - what the unit tests of this room share: cmocka, a repeatable generator, failing
** allocations in turn, and a child process to do dangerous things in.
*/
#ifndef DSC_SPEC_BASE_CHECK_H
#define DSC_SPEC_BASE_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"

#define TEST(name)   static void name(void **state __attribute__((unused)))
#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define L(text)      DSC_STR_LITERAL(text)

#define assert_str(s, text)                                                                                            \
  do {                                                                                                                 \
    dsc_str checked = (s);                                                                                             \
    assert_int_equal(checked.n, strlen(text));                                                                         \
    assert_memory_equal(checked.n ? checked.p : "", text, checked.n);                                                  \
  } while (0)

/* A repeatable number below `limit`: a failing run fails again. */
static inline size_t pick_below(uint64_t *seed, size_t limit) {
  *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (size_t)(*seed >> 33) % limit;
}

/* Runs `attempt` (true: it succeeded) with the first, the second, ... allocation failing, alone and with all
** later ones, until none fails. Returns how many there are to fail. */
static inline size_t fail_each_allocation(bool (*attempt)(void)) {
  for (size_t n = 1;; n++) {
    for (int onwards = 0; onwards <= 1; onwards++) {
      size_t blocks, bytes, blocks_after, bytes_after;
      dsc_mem_usage(&blocks, &bytes);
      dsc_mem_fail_at(n, onwards);
      bool succeeded = attempt();
      bool reached = dsc_mem_asked() >= n;
      dsc_mem_fail_at(0, false);
      dsc_mem_usage(&blocks_after, &bytes_after);
      assert_int_equal(blocks_after, blocks);
      assert_int_equal(bytes_after, bytes);
      assert_int_equal(succeeded, !reached);
      if (!reached) return n - 1;
    }
  }
}

/* Runs `work` in a child; returns the wait status, whose exit code is what `work` returned. */
static inline int in_child(int (*work)(void)) {
  fflush(NULL);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) _exit(work());
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  return status;
}

#endif

/*
** fuzz.h - what the fuzz targets share. Each target is one file with LLVMFuzzerTestOneInput(); scripts/fuzz builds and
** runs them, spec/fuzz/seeds/<target>/ holds what they begin with.
**
** What must hold beyond "no crash, no leak, no undefined behaviour" is said by EXPECT.
*/
#ifndef DSC_SPEC_FUZZ_H
#define DSC_SPEC_FUZZ_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

#define EXPECT(condition)                                                                                              \
  do {                                                                                                                 \
    if (!(condition)) __builtin_trap();                                                                                \
  } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Cuts a line off; a last one needs no end. */
static inline dsc_str next_line(dsc_str *rest) {
  return dsc_str_cut(rest, '\n');
}

static inline dsc_str input(const uint8_t *data, size_t size) {
  return (dsc_str){(const char *)data, size};
}

#endif

/*
** retry_after.h - how long a node asks to be left alone: the header Retry-After (RFC 9110, 10.2.3). Pure.
*/
#ifndef DSC_MODEL_RETRY_AFTER_H
#define DSC_MODEL_RETRY_AFTER_H

#include <stdint.h>

#include "base/str.h"

#define DSC_RETRY_AFTER_MAX_MS 30000

/* Returns the milliseconds, at most DSC_RETRY_AFTER_MAX_MS; 0: none, not understood, or over. `value`: seconds or an
** HTTP date in one of its three forms. A date is measured against `date`, the answer's own Date, since the clocks of
** two machines differ; without one against `wall`, seconds since 1970. Any thread (pure). */
uint64_t dsc_retry_after_ms(dsc_str value, dsc_str date, double wall);

#endif

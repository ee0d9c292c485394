/*
** log.h - log records and the sink they go to.
**
** A record is a value with bounded strings, so that it can wait in a queue without owning anything.
** The default sink, unless a host sets another, writes one line to stderr from a level up, in one write(2), from any
** thread.
*/
#ifndef DSC_BASE_LOG_H
#define DSC_BASE_LOG_H

#include "base/err.h"
#include "base/str.h"

#pragma GCC visibility push(default)

typedef enum dsc_log_level { DSC_LOG_DEBUG, DSC_LOG_INFO, DSC_LOG_WARN, DSC_LOG_ERROR, DSC_LOG_OFF } dsc_log_level;

typedef struct dsc_log_record {
  double time; /* wall-clock seconds */
  dsc_log_level level;
  char msg[384];
  /* the attempt, empty for other records */
  char app[128];
  char method[16];
  char path[256];
  char node[96];
  char request_id[64];
  char error[24];
  uint32_t attempts;
  double used_time_ms; /* negative: none */
} dsc_log_record;

/* `ud` is the sink's; the record is borrowed for the call. */
typedef void (*dsc_log_sink)(void *ud, const dsc_log_record *record);

typedef struct dsc_log {
  /* constant while others use it */
  dsc_log_sink sink;
  void *ud;
  dsc_log_level level; /* records below it are not built */
} dsc_log;

/* Returns the name of a level ("warn"). Any thread. Static string. */
const char *dsc_log_level_name(dsc_log_level level);

/* Finds a level by name. Any thread. Fails: false. */
bool dsc_log_level_find(dsc_str name, dsc_log_level *level);

/* Writes a message record to `log` if `level` reaches it; NULL log: nothing. Thread: the sink's rule. */
__attribute__((format(printf, 3, 4))) void dsc_log_write(const dsc_log *log, dsc_log_level level, const char *format,
                                                         ...);

/* Copies `s` into a bounded field, control characters as '?', cut with "..." when too long. Any thread. */
void dsc_log_field(char *field, size_t size, dsc_str s);

/* Formats a record as one readable line without line end; returns its length (< size). Any thread. */
size_t dsc_log_format(const dsc_log_record *record, char *line, size_t size);

/* Writes one line to stderr. Any thread. `ud` is unused. */
void dsc_log_stderr(void *ud, const dsc_log_record *record);

/* Sets where records go that no discoverer's own logger takes, in the whole process (NULL: stderr again). The sink is
** called in the thread that logs, this library's or a discoverer's owner, one record at a time; it may not fork nor
** call this library. After this has returned the former sink is not running and will not be called. Any thread. */
void dsc_log_set_default(dsc_log_sink sink, void *ud);

/* Hands a record to that sink. Any thread. `ud` is unused. */
void dsc_log_default(void *ud, const dsc_log_record *record);

#pragma GCC visibility pop

#endif

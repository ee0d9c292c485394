/*
** directory.h - all apps that are known: name -> table.
**
** Apps that somebody configured stay; others are bounded (1,024): the least recently called goes first, so that names
** brought in by requests can't grow memory for ever.
*/
#ifndef DSC_MODEL_DIRECTORY_H
#define DSC_MODEL_DIRECTORY_H

#include "model/table.h"

#define DSC_DIRECTORY_MAX_LOOSE 1024

typedef struct dsc_directory dsc_directory;

/* Makes an empty directory. Any thread. Caller owns: dsc_directory_free(). Fails: NULL. */
dsc_directory *dsc_directory_new(void);

/* Clears and gives back all tables. No other thread may use it any more. NULL is allowed. Owner's thread. */
void dsc_directory_free(dsc_directory *directory);

/* Finds an app and marks it as called now. Any thread. Caller owns one reference. Fails: NULL. */
dsc_table *dsc_directory_find(dsc_directory *directory, dsc_str app);

/* Finds or makes an app. `configured`: it stays (once configured, always). If a loose app had to go, `*evicted` (if
** not NULL) is a reference to its table, already taken out, not cleared: the caller unfollows, clears and unrefs it.
** Any thread. Caller owns one reference. Fails: NULL: out of memory. */
dsc_table *dsc_directory_open(dsc_directory *directory, dsc_str app, bool configured, dsc_table **evicted);

/* Returns references to all tables, sorted by name. Any thread. Caller owns: unref each, then dsc_mem_free().
** Fails: NULL: there are none, or, with `*count` above 0, out of memory. */
dsc_table **dsc_directory_list(dsc_directory *directory, size_t *count);

#endif

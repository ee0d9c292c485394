/*
** options.h - tables of options, read strictly: an unknown key or a wrong type raises, a bad value is an error.
*/
#ifndef DSC_LUA_OPTIONS_H
#define DSC_LUA_OPTIONS_H

#include "core/discover.h"
#include "lua/compat.h"

typedef enum dsc_lua_option_kind {
  DSC_OPTION_BOOL,  /* bool */
  DSC_OPTION_COUNT, /* uint32_t, min..max */
  DSC_OPTION_SIZE,  /* uint64_t, min..max */
  DSC_OPTION_TIME,  /* uint32_t milliseconds from seconds or a string with a unit; min..max in seconds */
  DSC_OPTION_STR,   /* dsc_str, borrowed */
  DSC_OPTION_TEXT,  /* const char *, borrowed; no NUL inside */
  DSC_OPTION_OTHER  /* known, read by the caller */
} dsc_lua_option_kind;

typedef struct dsc_lua_option {
  const char *name; /* NULL ends a list */
  dsc_lua_option_kind kind;
  size_t offset;
  double min, max;
} dsc_lua_option;

/* Reads the table at `index` into `target` by a list of known options; keys that are absent leave their field.
** `what` names the table, `arg` its argument. Owner's thread. Strings stay borrowed while the table lives. Fails:
** DSC_EINVALID with `why`. Raises: unknown keys, wrong types. */
dsc_err dsc_lua_options_read(lua_State *L, int index, int arg, const char *what, const dsc_lua_option *known,
                             void *target, dsc_why *why);

/* Leaves the strings of such a table on the stack: so they live on when a callback empties the table. Owner's thread.
** Raises: no room on the stack. */
void dsc_lua_options_keep(lua_State *L, int index, const dsc_lua_option *known);

/* Reads argument `arg` as how long something took: seconds, or a string with a unit. Owner's thread. Raises: another
** type. Fails: DSC_EINVALID with `why`. */
dsc_err dsc_lua_options_seconds(lua_State *L, int arg, const char *what, double *seconds, dsc_why *why);

/* Reads a time (seconds or a string with a unit) of at most 49 days. Owner's thread. Fails: DSC_EINVALID with `why`.
** Raises: wrong types. */
dsc_err dsc_lua_options_time(lua_State *L, int index, int arg, const char *what, uint32_t *ms, dsc_why *why);

/* Reads a whole number from `min` to `max`. Owner's thread. Fails: DSC_EINVALID with `why`. Raises: wrong types. */
dsc_err dsc_lua_options_count(lua_State *L, int index, int arg, const char *what, uint32_t min, uint32_t max,
                              uint32_t *value, dsc_why *why);

/* Reads `retry`: idempotent, always or never. Owner's thread. Fails: DSC_EINVALID with `why`. */
dsc_err dsc_lua_options_retry(dsc_str name, dsc_retry *retry, dsc_why *why);

/* Makes a call config from the table or call string at `index`. Owner's thread. Caller owns one reference. Fails:
** DSC_EINVALID, DSC_ENOMEM with `why`. Raises: other types, what a table raises. */
dsc_err dsc_lua_options_call(lua_State *L, int index, int arg, const char *what, dsc_call_config **config,
                             dsc_why *why);

/* Pushes a call config as a table that dsc_lua_options_call() understands. Owner's thread. */
void dsc_lua_options_push_call(lua_State *L, const dsc_call_config *config);

/* The configs of several apps, owned by a userdata. */
typedef struct dsc_lua_calls {
  size_t n;
  struct {
    dsc_str app; /* borrowed from the table's key */
    dsc_call_config *config;
  } items[];
} dsc_lua_calls;

/* What start, open and new take. */
typedef struct dsc_lua_opts {
  dsc_options core;
  uint32_t weight;
  const char *metadata;        /* NULL: none */
  const dsc_lua_calls *calls;  /* NULL: none */
  int balancer, route, logger; /* stack indices of what was given, 0: not given */
  int relay;                   /* stack index of the list of names, 0: the default */
} dsc_lua_opts;

/* Reads the options at `index` (nil or none: the defaults). Leaves values on the stack that `opts` borrows from.
** Owner's thread. Fails: DSC_EINVALID, DSC_ENOMEM with `why`. Raises: unknown keys, wrong types. */
dsc_err dsc_lua_options_discoverer(lua_State *L, int index, dsc_lua_opts *opts, dsc_why *why);

/* Makes the types. Owner's thread. */
void dsc_lua_options_open(lua_State *L);

#endif

/*
** future_wait.c - wait_all and wait_any.
**
** The futures are kept on the stack meanwhile: a callback may empty the list. Threads: that of the lua_State.
*/
#include "lua/future.h"
#include "lua/options.h"

/* What is waited for; the discoverer is at index `self`, the copy of the list at `list`. */
typedef struct wait {
  dsc_future **futures;
  dsc_lua_future **boxes;
  size_t n;
  int list, self;
  uint32_t timeout_ms;
  size_t ready; /* the first that is ready from the start, n: none */
  bool all_ready;
} wait;

static void *push_array(lua_State *L, size_t n) {
  return lua_newuserdata(L, (n ? n : 1) * sizeof(void *));
}

/* A future of a discoverer other than the first one's that is not ready can't be waited for with it. */
static dsc_err note_owner(lua_State *L, wait *w, dsc_why *why) {
  dsc_lua_future_push_owner(L, -1);
  bool other = w->self && !lua_rawequal(L, -1, w->self);
  if (!w->self)
    lua_replace(L, w->self = w->list + 1);
  else
    lua_pop(L, 1);
  return other ? dsc_fail(why, DSC_EINVALID, "the futures are not all of one discoverer") : DSC_OK;
}

/* Copies the list at index 1. Raises: what is no future. */
static dsc_err collect(lua_State *L, wait *w, dsc_why *why) {
  dsc_err err = DSC_OK;
  lua_createtable(L, (int)w->n, 0);
  lua_pushnil(L); /* the place of the discoverer */
  w->list = lua_gettop(L) - 1;
  w->boxes = push_array(L, w->n);
  w->futures = push_array(L, w->n);
  w->ready = w->n;
  w->all_ready = true;
  for (size_t i = 0; i < w->n; i++) {
    lua_rawgeti(L, 1, (int)i + 1);
    dsc_lua_future *box = dsc_compat_test(L, -1, "discover.future");
    if (!box) {
      luaL_argerror(L, 1, lua_pushfstring(L, "futures expected, got %s at [%d]", luaL_typename(L, -1), (int)i + 1));
      return DSC_EINVALID;
    }
    dsc_err trouble = note_owner(L, w, why);
    if (!err) err = trouble;
    w->boxes[i] = box;
    w->futures[i] = box->f;
    bool ready = dsc_lua_future_is_ready(box);
    if (ready && w->ready == w->n) w->ready = i;
    w->all_ready = w->all_ready && ready;
    uint32_t deadline_ms = ready ? 0 : dsc_future_deadline_ms(box->f);
    if (deadline_ms > w->timeout_ms) w->timeout_ms = deadline_ms;
    lua_rawseti(L, w->list, (int)i + 1);
  }
  return err;
}

/* Arguments: a list of futures, the time. What never began (its discoverer is stopped) is ready, and left out. */
static dsc_err prepare(lua_State *L, wait *w, dsc_why *why) {
  uint32_t given_ms = 0;
  *w = (wait){0};
  if (!lua_istable(L, 1)) dsc_compat_type_error(L, 1, "list of futures");
  lua_settop(L, 2);
  dsc_err err = lua_isnil(L, 2) ? DSC_OK : dsc_lua_options_time(L, 2, 2, "wait", &given_ms, why);
  w->n = lua_rawlen(L, 1);
  luaL_checkstack(L, 16, "wait");
  dsc_err trouble = collect(L, w, why);
  if (!lua_isnil(L, 2)) w->timeout_ms = given_ms;
  return err ? err : trouble;
}

/* Leaves out those that never began; they are ready. Returns how many are left. */
static size_t drop_unbegun(wait *w) {
  size_t n = 0;
  for (size_t i = 0; i < w->n; i++)
    if (w->futures[i]) w->futures[n++] = w->futures[i];
  return n;
}

int dsc_lua_future_wait_all(lua_State *L) {
  dsc_lua_frame frame;
  dsc_why why = {""};
  wait w;
  dsc_err err = prepare(L, &w, &why);
  if (!err && !w.all_ready) {
    size_t n = drop_unbegun(&w);
    err = dsc_lua_discoverer_enter(L, w.self, &frame, &why);
    if (!err) {
      err = dsc_future_wait_all(&frame.frame, w.futures, n, w.timeout_ms, &why);
      dsc_lua_discoverer_leave(&frame);
    }
  }
  return dsc_compat_answer(L, err, &why);
}

static size_t first_ready(const wait *w) {
  size_t i = 0;
  while (i < w->n && !dsc_lua_future_is_ready(w->boxes[i])) i++;
  return i;
}

int dsc_lua_future_wait_any(lua_State *L) {
  dsc_lua_frame frame;
  dsc_why why = {""};
  size_t index;
  wait w;
  dsc_err err = prepare(L, &w, &why);
  if (!err && w.n == 0) err = dsc_fail(&why, DSC_EINVALID, "there is no future to wait for");
  if (!err && w.ready == w.n) {
    err = dsc_lua_discoverer_enter(L, w.self, &frame, &why);
    if (!err) {
      err = dsc_future_wait_any(&frame.frame, w.futures, w.n, w.timeout_ms, &index, &why);
      dsc_lua_discoverer_leave(&frame);
    }
  }
  if (err) return dsc_compat_fail(L, err, &why);
  index = first_ready(&w);
  lua_rawgeti(L, w.list, (int)index + 1);
  lua_pushinteger(L, (lua_Integer)index + 1);
  return 2;
}

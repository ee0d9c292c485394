/*
** websocket.c - the userdata of a WebSocket: send, receive, ping, close, on_message.
**
** Invariants: it keeps its discoverer alive. One with a listener is kept by the discoverer (U[DSC_U_WEBSOCKETS]) until
** its end was told, the listener taken off, or the discoverer is garbage itself; any other that nobody holds is
** collected, and cut. `__gc` neither waits nor runs callbacks. Nothing raises between enter and leave.
** Threads: that of the lua_State.
*/
#include "lua/websocket.h"

#include "base/mem.h"
#include "lua/hooks.h"
#include "lua/options.h"

#define WEBSOCKET  "discover.websocket"
#define WAIT_MS    10000u /* of send and receive */
#define CODE_NONE  1000   /* what close() says without a code */
#define CODE_MAX   4999
#define REASON_MAX 123

dsc_lua_websocket *dsc_lua_websocket_push(lua_State *L, int u) {
  dsc_lua_websocket *box = lua_newuserdata(L, sizeof *box);
  box->ws = NULL;
  lua_createtable(L, DSC_WEBSOCKET_LISTENER, 0);
  lua_pushvalue(L, u);
  lua_rawseti(L, -2, DSC_WEBSOCKET_U);
  dsc_compat_set_user(L, -2);
  dsc_compat_set_class(L, WEBSOCKET);
  return box;
}

static dsc_lua_websocket *check(lua_State *L) {
  dsc_lua_websocket *box = luaL_checkudata(L, 1, WEBSOCKET);
  if (!box->ws) luaL_argerror(L, 1, "the WebSocket was collected");
  return box;
}

/* Pushes U and the discoverer; returns the index of U, that of the discoverer is one more. */
static int push_owner(lua_State *L) {
  dsc_compat_get_user(L, 1);
  lua_rawgeti(L, -1, DSC_WEBSOCKET_U);
  lua_rawgeti(L, -1, DSC_U_SELF);
  return lua_gettop(L) - 1;
}

static dsc_err enter(lua_State *L, dsc_lua_frame *frame, dsc_why *why) {
  return dsc_lua_discoverer_enter(L, push_owner(L) + 1, frame, why);
}

/* Reads an optional time. Raises: another type. */
static dsc_err read_timeout(lua_State *L, int arg, const char *what, uint32_t *ms, dsc_why *why) {
  *ms = WAIT_MS;
  return lua_isnoneornil(L, arg) ? DSC_OK : dsc_lua_options_time(L, arg, arg, what, ms, why);
}

static dsc_err read_kind(lua_State *L, int arg, dsc_ws_kind *kind, dsc_why *why) {
  *kind = DSC_WS_TEXT;
  if (lua_isnoneornil(L, arg)) return DSC_OK;
  dsc_str name = dsc_compat_check_str(L, arg);
  if (dsc_str_equal(name, dsc_str_of("text"))) return DSC_OK;
  *kind = DSC_WS_BINARY;
  if (dsc_str_equal(name, dsc_str_of("binary"))) return DSC_OK;
  return dsc_fail(why, DSC_EINVALID, "send: \"%.*s\" is none of text, binary", DSC_STR_ARG(name));
}

/* self, data [, kind [, timeout]] */
static int websocket_send(lua_State *L) {
  dsc_lua_frame frame;
  dsc_ws_kind kind;
  uint32_t timeout_ms;
  dsc_why why = {""};
  dsc_lua_websocket *box = check(L);
  lua_settop(L, 4);
  dsc_str data = dsc_compat_check_str(L, 2);
  dsc_err err = read_kind(L, 3, &kind, &why);
  dsc_err bad = read_timeout(L, 4, "send", &timeout_ms, err ? NULL : &why);
  if (!err) err = bad;
  if (!err) err = enter(L, &frame, &why);
  if (err) return dsc_compat_fail(L, err, &why);
  err = dsc_websocket_send(&frame.frame, box->ws, kind, data, timeout_ms, &why);
  dsc_lua_discoverer_leave(&frame);
  return dsc_compat_answer(L, err, &why);
}

/* self [, timeout] */
static int websocket_receive(lua_State *L) {
  dsc_lua_frame frame;
  uint32_t timeout_ms;
  dsc_why why = {""};
  dsc_ws_message message = {DSC_WS_TEXT, NULL, 0};
  dsc_lua_websocket *box = check(L);
  lua_settop(L, 2);
  dsc_err err = read_timeout(L, 2, "receive", &timeout_ms, &why);
  if (err) return dsc_compat_fail(L, err, &why);
  dsc_lua_holder *holder = dsc_compat_push_holder(L, dsc_mem_free);
  err = enter(L, &frame, &why);
  if (err) return dsc_compat_fail(L, err, &why);
  err = dsc_websocket_receive(&frame.frame, box->ws, timeout_ms, &message, &why);
  holder->object = err ? NULL : message.data;
  dsc_lua_discoverer_leave(&frame);
  if (err) return dsc_compat_fail(L, err, &why);
  lua_pushlstring(L, message.data, message.len);
  lua_pushstring(L, message.kind == DSC_WS_TEXT ? "text" : "binary");
  dsc_compat_release(holder);
  return 2;
}

static int websocket_ping(lua_State *L) {
  dsc_lua_frame frame;
  dsc_why why = {""};
  dsc_lua_websocket *box = check(L);
  dsc_err err = enter(L, &frame, &why);
  if (err) return dsc_compat_fail(L, err, &why);
  err = dsc_websocket_ping(&frame.frame, box->ws, &why);
  dsc_lua_discoverer_leave(&frame);
  return dsc_compat_answer(L, err, &why);
}

static dsc_err read_code(lua_State *L, int arg, uint16_t *code, dsc_why *why) {
  uint32_t number = CODE_NONE;
  dsc_err err = DSC_OK;
  if (!lua_isnoneornil(L, arg)) err = dsc_lua_options_count(L, arg, arg, "close", CODE_NONE, CODE_MAX, &number, why);
  *code = (uint16_t)number;
  return err;
}

static int close_with(lua_State *L, dsc_lua_websocket *box, uint16_t code, dsc_str reason) {
  dsc_lua_frame frame;
  dsc_why why = {""};
  dsc_err err = enter(L, &frame, &why);
  /* what is asked for is so already */
  if (err == DSC_ESTOPPED || err == DSC_EFORKED) return dsc_compat_answer(L, DSC_OK, NULL);
  if (err) return dsc_compat_fail(L, err, &why);
  err = dsc_websocket_close(&frame.frame, box->ws, code, reason, &why);
  dsc_lua_discoverer_leave(&frame);
  return dsc_compat_answer(L, err, &why);
}

/* self [, code [, reason]] */
static int websocket_close(lua_State *L) {
  uint16_t code;
  dsc_why why = {""};
  dsc_lua_websocket *box = check(L);
  lua_settop(L, 3);
  dsc_err err = read_code(L, 2, &code, &why);
  dsc_str reason = dsc_compat_opt_str(L, 3);
  if (!err && reason.n > REASON_MAX)
    err = dsc_fail(&why, DSC_EINVALID, "close: a reason of at most %d bytes expected, got %zu", REASON_MAX, reason.n);
  if (err) return dsc_compat_fail(L, err, &why);
  return close_with(L, box, code, reason);
}

/* What `local ws <close>` does; the second argument is the error that ends the block, or nil. */
static int websocket_end(lua_State *L) {
  dsc_lua_websocket *box = check(L);
  lua_settop(L, 1);
  return close_with(L, box, CODE_NONE, DSC_STR_LITERAL(""));
}

bool dsc_lua_websocket_push_listener(lua_State *L, int u, const dsc_lua_websocket *box) {
  u = lua_absindex(L, u);
  lua_rawgeti(L, u, DSC_U_WEBSOCKETS);
  dsc_compat_get_ptr(L, -1, box);
  lua_remove(L, -2);
  if (!lua_touserdata(L, -1)) {
    lua_pop(L, 1);
    return false;
  }
  dsc_compat_get_user(L, -1);
  lua_rawgeti(L, -1, DSC_WEBSOCKET_LISTENER);
  lua_remove(L, -2);
  return true;
}

void dsc_lua_websocket_unlisten(lua_State *L, int u, const dsc_lua_websocket *box) {
  u = lua_absindex(L, u);
  lua_rawgeti(L, u, DSC_U_WEBSOCKETS);
  dsc_compat_get_ptr(L, -1, box);
  if (lua_touserdata(L, -1)) {
    lua_pop(L, 1);
    lua_pushnil(L);
    dsc_compat_set_ptr(L, -2, box);
    lua_pop(L, 1);
    return;
  }
  lua_pop(L, 2);
}

/* Keeps the function at index 2 (or nil) and, with one, the userdata itself. */
static void keep_listener(lua_State *L, int u, const dsc_lua_websocket *box) {
  dsc_compat_get_user(L, 1);
  lua_pushvalue(L, 2);
  lua_rawseti(L, -2, DSC_WEBSOCKET_LISTENER);
  lua_pop(L, 1);
  if (lua_isnil(L, 2)) {
    dsc_lua_websocket_unlisten(L, u, box);
    return;
  }
  lua_rawgeti(L, u, DSC_U_WEBSOCKETS);
  lua_pushvalue(L, 1);
  dsc_compat_set_ptr(L, -2, box);
  lua_pop(L, 1);
}

/* self, function or nil */
static int websocket_on_message(lua_State *L) {
  dsc_lua_frame frame;
  dsc_why why = {""};
  dsc_lua_websocket *box = check(L);
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) dsc_lua_hooks_check_function(L, 2, 2, "on_message");
  int u = push_owner(L);
  dsc_err err = dsc_lua_discoverer_enter(L, u + 1, &frame, &why);
  if (err) return dsc_compat_fail(L, err, &why);
  dsc_lua_discoverer_leave(&frame);
  keep_listener(L, u, box);
  dsc_websocket_listen(box->ws, !lua_isnil(L, 2), box);
  return dsc_compat_answer(L, DSC_OK, NULL);
}

static int get_node(lua_State *L) {
  lua_pushstring(L, dsc_websocket_node(check(L)->ws));
  return 1;
}

static const char *state_name(const dsc_websocket *ws) {
  switch (dsc_websocket_get_state(ws)) {
  case DSC_WEBSOCKET_OPEN: return "open";
  case DSC_WEBSOCKET_CLOSING: return "closing";
  case DSC_WEBSOCKET_CLOSED: break;
  }
  return "closed";
}

static int get_state(lua_State *L) {
  lua_pushstring(L, state_name(check(L)->ws));
  return 1;
}

static int get_protocol(lua_State *L) {
  const char *protocol = dsc_websocket_protocol(check(L)->ws);
  if (protocol[0])
    lua_pushstring(L, protocol);
  else
    lua_pushnil(L);
  return 1;
}

static int get_close_code(lua_State *L) {
  const dsc_ws_end *end = dsc_websocket_end(check(L)->ws);
  if (end)
    lua_pushinteger(L, end->code);
  else
    lua_pushnil(L);
  return 1;
}

static int get_close_reason(lua_State *L) {
  const dsc_ws_end *end = dsc_websocket_end(check(L)->ws);
  if (end)
    lua_pushstring(L, end->reason);
  else
    lua_pushnil(L);
  return 1;
}

static int websocket_tostring(lua_State *L) {
  dsc_lua_websocket *box = luaL_checkudata(L, 1, WEBSOCKET);
  if (!box->ws) {
    lua_pushliteral(L, "websocket(collected)");
    return 1;
  }
  const dsc_ws_end *end = dsc_websocket_end(box->ws);
  lua_pushfstring(L, "websocket(%s, %s)", dsc_websocket_node(box->ws), state_name(box->ws));
  if (!end) return 1;
  lua_pushfstring(L, "websocket(%s, closed: %d)", dsc_websocket_node(box->ws), (int)end->code);
  return 1;
}

static int websocket_gc(lua_State *L) {
  dsc_lua_websocket *box = luaL_checkudata(L, 1, WEBSOCKET);
  dsc_websocket *ws = box->ws;
  box->ws = NULL;
  dsc_websocket_free(ws);
  return 0;
}

void dsc_lua_websocket_open(lua_State *L) {
  static const luaL_Reg meta[] = {
      {"__gc", websocket_gc}, {"__close", websocket_end}, {"__tostring", websocket_tostring}, {NULL, NULL}};
  static const luaL_Reg methods[] = {
      {"send", websocket_send},   {"receive", websocket_receive},       {"ping", websocket_ping},
      {"close", websocket_close}, {"on_message", websocket_on_message}, {NULL, NULL}};
  static const dsc_lua_field fields[] = {{"node", get_node},
                                         {"state", get_state},
                                         {"protocol", get_protocol},
                                         {"close_code", get_close_code},
                                         {"close_reason", get_close_reason},
                                         {NULL, NULL}};
  dsc_compat_class(L, &(dsc_lua_class){WEBSOCKET, meta, methods, fields});
}

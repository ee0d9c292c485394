/*
** node.c - the userdata of a node: one per node and discoverer, so that equal nodes are the same value and a pick
** makes no garbage.
**
** Invariants: a userdata holds a reference, so a node pointer in the cache means one node only. The cache holds a
** userdata until its node is gone; those that are gone leave it when it has doubled. The user's `data` lives as long
** as the userdata (a table with weak keys). Threads: that of the lua_State; what is read is atomic or behind the
** table's lock.
*/
#include "lua/node.h"

#include "base/mem.h"
#include "lua/headers.h"
#include "lua/options.h"

#define NODE           "discover.node"
#define STATUS_ABORTED 499 /* nginx's for: the client went away first */

typedef struct node_box {
  dsc_node *node; /* NULL: spare or collected */
} node_box;

static node_box *push_empty(lua_State *L, int u) {
  u = lua_absindex(L, u);
  node_box *box = lua_newuserdata(L, sizeof *box);
  box->node = NULL;
  lua_pushvalue(L, u);
  dsc_compat_set_user(L, -2);
  dsc_compat_set_class(L, NODE);
  return box;
}

void dsc_lua_node_prepare(lua_State *L, int u, dsc_lua_discoverer *box) {
  if (box->has_spare) return;
  u = lua_absindex(L, u);
  push_empty(L, u);
  lua_rawseti(L, u, DSC_U_SPARE);
  box->has_spare = true;
}

/* Pushes two values, the second one the cached userdata; false (and nothing pushed) when there is none. */
static bool push_cached(lua_State *L, int u, const dsc_node *node) {
  lua_rawgeti(L, u, DSC_U_NODES);
  dsc_compat_get_ptr(L, -1, node);
  if (lua_touserdata(L, -1)) return true;
  lua_pop(L, 2);
  return false;
}

/* Drops the userdata of nodes that are gone; `nodes` is the index of the cache. */
static void sweep(lua_State *L, int nodes, dsc_lua_discoverer *box) {
  box->n_nodes = 0;
  for (lua_pushnil(L); lua_next(L, nodes); lua_pop(L, 1)) {
    const node_box *cached = lua_touserdata(L, -1);
    if (dsc_node_get_state(cached->node) != DSC_NODE_GONE) {
      box->n_nodes++;
      continue;
    }
    lua_pushvalue(L, -2);
    lua_pushnil(L);
    lua_rawset(L, nodes);
  }
  box->nodes_sweep = 2 * box->n_nodes + 16;
}

/* Caches the userdata on top. */
static void cache(lua_State *L, int u, const dsc_node *node) {
  lua_rawgeti(L, u, DSC_U_NODES);
  int nodes = lua_gettop(L);
  lua_pushvalue(L, nodes - 1);
  dsc_compat_set_ptr(L, nodes, node);
  lua_rawgeti(L, u, DSC_U_SELF);
  dsc_lua_discoverer *box = lua_touserdata(L, -1);
  if (++box->n_nodes >= box->nodes_sweep) sweep(L, nodes, box);
  lua_settop(L, nodes - 1);
}

void dsc_lua_node_push(lua_State *L, int u, dsc_node *node) {
  u = lua_absindex(L, u);
  if (push_cached(L, u, node)) {
    lua_remove(L, -2);
    return;
  }
  push_empty(L, u)->node = dsc_node_ref(node);
  cache(L, u, node);
}

void dsc_lua_node_push_picked(lua_State *L, int u, dsc_lua_discoverer *owner, dsc_node *node) {
  if (push_cached(L, u, node)) {
    dsc_node_unref(node);
    return;
  }
  u = lua_absindex(L, u);
  lua_rawgeti(L, u, DSC_U_SPARE);
  node_box *box = lua_touserdata(L, -1);
  /* a callback of this very pick may have picked too, and taken the spare */
  if (!box) box = push_empty(L, u);
  box->node = node;
  owner->has_spare = false;
  lua_pushboolean(L, 0);
  lua_rawseti(L, u, DSC_U_SPARE);
  cache(L, u, node);
}

static dsc_node *check(lua_State *L) {
  node_box *box = luaL_checkudata(L, 1, NODE);
  if (!box->node) luaL_argerror(L, 1, "the node was collected");
  return box->node;
}

dsc_node *dsc_lua_node_test(lua_State *L, int index) {
  node_box *box = dsc_compat_test(L, index, NODE);
  return box ? box->node : NULL;
}

static int get_addr(lua_State *L) {
  dsc_compat_push_str(L, dsc_node_addr(check(L)));
  return 1;
}

static int get_host(lua_State *L) {
  lua_pushstring(L, dsc_node_host(check(L)));
  return 1;
}

static int get_port(lua_State *L) {
  lua_pushinteger(L, dsc_node_port(check(L)));
  return 1;
}

static int get_weight(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)dsc_node_weight(check(L)));
  return 1;
}

static int get_used_times(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)dsc_node_used_times(check(L)));
  return 1;
}

static int get_failed_times(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)dsc_node_failed_times(check(L)));
  return 1;
}

static int get_in_flight(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)dsc_node_in_flight(check(L)));
  return 1;
}

static int get_state(lua_State *L) {
  lua_pushstring(L, dsc_node_state_name(dsc_node_get_state(check(L))));
  return 1;
}

static int get_metadata(lua_State *L) {
  dsc_node *node = check(L);
  dsc_lua_holder *holder = dsc_compat_push_holder(L, dsc_mem_free);
  holder->object = dsc_node_copy_metadata(node);
  if (!holder->object) return luaL_error(L, "not enough memory");
  dsc_lua_headers_push_pairs(L, dsc_str_of(holder->object));
  dsc_compat_release(holder);
  return 1;
}

static int get_data(lua_State *L) {
  check(L);
  dsc_compat_get_user(L, 1);
  int u = lua_gettop(L);
  lua_rawgeti(L, u, DSC_U_DATA);
  int data = u + 1;
  lua_pushvalue(L, 1);
  lua_rawget(L, data);
  if (!lua_isnil(L, -1)) return 1;
  lua_newtable(L);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, -2);
  lua_rawset(L, data);
  return 1;
}

/* The outcome that argument 2 stands for: nothing, true/false or an HTTP status. */
static dsc_err read_outcome(lua_State *L, dsc_outcome *outcome, dsc_why *why) {
  int64_t status;
  *outcome = DSC_OUTCOME_SUCCESS;
  switch (lua_type(L, 2)) {
  case LUA_TNONE:
  case LUA_TNIL: return DSC_OK;
  case LUA_TBOOLEAN:
    if (!lua_toboolean(L, 2)) *outcome = DSC_OUTCOME_FAILURE;
    return DSC_OK;
  case LUA_TNUMBER:
    if (!dsc_compat_to_int(L, 2, &status) || status < 100 || status > 999)
      return dsc_fail(why, DSC_EINVALID, "done: an HTTP status expected, got %.17g", (double)lua_tonumber(L, 2));
    if (status >= 502 && status <= 504) *outcome = DSC_OUTCOME_FAILURE;
    if (status == STATUS_ABORTED) *outcome = DSC_OUTCOME_NEUTRAL;
    return DSC_OK;
  default: dsc_compat_type_error(L, 2, "status or boolean"); return DSC_EINVALID;
  }
}

static int node_done(lua_State *L) {
  dsc_lua_frame frame;
  dsc_outcome outcome;
  dsc_why why = {""};
  dsc_node *node = check(L);
  dsc_err err = read_outcome(L, &outcome, &why);
  if (!lua_isnoneornil(L, 3)) {
    double seconds;
    dsc_err bad = dsc_lua_options_seconds(L, 3, "done", &seconds, &why);
    if (!err) err = bad;
  }
  dsc_compat_get_user(L, 1);
  lua_rawgeti(L, -1, DSC_U_SELF);
  if (!err) err = dsc_lua_discoverer_enter(L, lua_gettop(L), &frame, &why);
  if (err) return dsc_compat_fail(L, err, &why);
  dsc_discoverer_done(&frame.frame, node, outcome);
  dsc_lua_discoverer_leave(&frame);
  return dsc_compat_answer(L, DSC_OK, NULL);
}

static int node_tostring(lua_State *L) {
  dsc_node *node = check(L);
  lua_pushfstring(L, "node(%s %s, weight %d)", dsc_node_addr(node).p, dsc_node_state_name(dsc_node_get_state(node)),
                  (int)dsc_node_weight(node));
  return 1;
}

static int node_gc(lua_State *L) {
  node_box *box = luaL_checkudata(L, 1, NODE);
  dsc_node *node = box->node;
  box->node = NULL;
  dsc_node_unref(node);
  return 0;
}

void dsc_lua_node_open(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", node_gc}, {"__tostring", node_tostring}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"done", node_done}, {NULL, NULL}};
  static const dsc_lua_field fields[] = {{"addr", get_addr},
                                         {"host", get_host},
                                         {"port", get_port},
                                         {"weight", get_weight},
                                         {"used_times", get_used_times},
                                         {"failed_times", get_failed_times},
                                         {"in_flight", get_in_flight},
                                         {"metadata", get_metadata},
                                         {"state", get_state},
                                         {"data", get_data},
                                         {NULL, NULL}};
  dsc_compat_class(L, &(dsc_lua_class){NODE, meta, methods, fields});
}

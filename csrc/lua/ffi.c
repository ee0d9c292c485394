/*
** ffi.c - picking without the Lua API, for LuaJIT's FFI.
**
** Nothing here knows a lua_State: frames have no ctx, which no callback misses, because there is none. Threads: the
** owner's.
*/
#include "lua/ffi.h"

#include <stdio.h>

#define WHY_MAX 256

static dsc_err enter(const dsc_lua_discoverer *box, dsc_frame *frame, dsc_why *why) {
  if (!box->d) return dsc_fail(why, DSC_ESTOPPED, "the discoverer was closed");
  if (box->has_next || box->has_logger || box->has_event)
    return dsc_fail(why, DSC_ECALLBACK, "a balancer, logger or on_event in Lua can't be called through the FFI");
  return dsc_discoverer_enter(box->d, frame, NULL, why);
}

dsc_node *dsc_ffi_pick(dsc_lua_discoverer *box, const char *app, size_t app_len, const char *key, size_t key_len,
                       const char **code, char *text) {
  dsc_frame frame;
  dsc_why why;
  dsc_node *node = NULL;
  why.text[0] = '\0';
  dsc_err err = enter(box, &frame, &why);
  if (!err) {
    err = dsc_discoverer_pick(&frame, (dsc_str){app, app_len}, (dsc_str){key, key_len}, NULL, &node, &why);
    dsc_discoverer_leave(&frame);
  }
  if (!err) return node;
  *code = dsc_err_name(err);
  snprintf(text, WHY_MAX, "%s", why.text[0] ? why.text : dsc_err_text(err));
  return NULL;
}

const char *dsc_ffi_addr(const dsc_node *node) {
  return dsc_node_addr(node).p;
}

const char *dsc_ffi_host(const dsc_node *node) {
  return dsc_node_host(node);
}

int dsc_ffi_port(const dsc_node *node) {
  return dsc_node_port(node);
}

void dsc_ffi_done(dsc_lua_discoverer *box, dsc_node *node, bool ok) {
  dsc_frame frame;
  if (enter(box, &frame, NULL) == DSC_OK) {
    dsc_discoverer_done(&frame, node, ok ? DSC_OUTCOME_SUCCESS : DSC_OUTCOME_FAILURE);
    dsc_discoverer_leave(&frame);
  }
  dsc_node_unref(node);
}

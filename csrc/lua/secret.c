/*
** secret.c - the userdata of a token or password: its length can be seen, its bytes only compared.
**
** Threads: that of the lua_State; the secret itself is shared by reference count.
*/
#include "lua/secret.h"

#include <errno.h>
#include <stdio.h>

#define SECRET   "discover.secret"
#define FILE_MAX 65536 /* a key file that is larger is a mistake */

typedef struct secret_box {
  dsc_secret *secret;
} secret_box;

static secret_box *push_box(lua_State *L) {
  secret_box *box = lua_newuserdata(L, sizeof *box);
  box->secret = NULL;
  dsc_compat_set_class(L, SECRET);
  return box;
}

dsc_secret *dsc_lua_secret_test(lua_State *L, int index) {
  secret_box *box = dsc_compat_test(L, index, SECRET);
  return box ? box->secret : NULL;
}

void dsc_lua_secret_push(lua_State *L, dsc_secret *secret) {
  push_box(L)->secret = dsc_secret_ref(secret);
}

static dsc_secret *push_new(lua_State *L, dsc_str bytes) {
  secret_box *box = push_box(L);
  box->secret = dsc_secret_new(bytes);
  if (!box->secret) luaL_error(L, "not enough memory");
  return box->secret;
}

dsc_secret *dsc_lua_secret_make(lua_State *L, int index) {
  dsc_secret *secret = dsc_lua_secret_test(L, index);
  if (secret)
    lua_pushvalue(L, index);
  else if (lua_type(L, index) == LUA_TSTRING)
    secret = push_new(L, dsc_compat_check_str(L, index));
  return secret;
}

int dsc_lua_secret_new(lua_State *L) {
  push_new(L, dsc_compat_check_str(L, 1));
  return 1;
}

static dsc_err read_file(const char *path, char *bytes, size_t *n, dsc_why *why) {
  FILE *file = fopen(path, "rbe");
  if (!file) return dsc_fail(why, DSC_EIO, "%s: %s", path, strerror(errno));
  /* no buffer of the C library's may keep a copy */
  setvbuf(file, NULL, _IONBF, 0);
  *n = fread(bytes, 1, FILE_MAX + 1, file);
  int failed = ferror(file) ? errno : 0;
  fclose(file);
  if (failed) return dsc_fail(why, DSC_EIO, "%s: %s", path, strerror(failed));
  if (*n > FILE_MAX) return dsc_fail(why, DSC_ETOO_LARGE, "%s: a secret has at most %d bytes", path, FILE_MAX);
  return DSC_OK;
}

int dsc_lua_secret_from_file(lua_State *L) {
  dsc_str path = dsc_compat_check_str(L, 1);
  secret_box *box = push_box(L);
  char *bytes = lua_newuserdata(L, FILE_MAX + 1);
  dsc_why why = {""};
  size_t n = 0;
  dsc_err err = strlen(path.p) == path.n ? read_file(path.p, bytes, &n, &why)
                                         : dsc_fail(&why, DSC_EIO, "the path holds a NUL byte");
  if (!err) {
    if (n && bytes[n - 1] == '\n') n--;
    if (n && bytes[n - 1] == '\r') n--;
    box->secret = dsc_secret_new((dsc_str){bytes, n});
    if (!box->secret) err = DSC_ENOMEM;
  }
  dsc_secret_wipe(bytes, FILE_MAX + 1);
  if (err) return dsc_compat_fail(L, err, &why);
  lua_pop(L, 1);
  return 1;
}

static dsc_secret *check(lua_State *L) {
  secret_box *box = luaL_checkudata(L, 1, SECRET);
  return box->secret;
}

static int secret_equals(lua_State *L) {
  dsc_secret *secret = check(L);
  dsc_secret *other = dsc_lua_secret_test(L, 2);
  bool same;
  if (other)
    same = dsc_secret_same(secret, other);
  else if (lua_type(L, 2) == LUA_TSTRING)
    same = dsc_secret_equals(secret, dsc_compat_check_str(L, 2));
  else
    return dsc_compat_type_error(L, 2, "string or secret");
  lua_pushboolean(L, same);
  return 1;
}

static int secret_tostring(lua_State *L) {
  lua_pushfstring(L, "secret(%d bytes)", (int)dsc_secret_length(check(L)));
  return 1;
}

static int secret_gc(lua_State *L) {
  secret_box *box = luaL_checkudata(L, 1, SECRET);
  dsc_secret_unref(box->secret);
  box->secret = NULL;
  return 0;
}

void dsc_lua_secret_open(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", secret_gc}, {"__tostring", secret_tostring}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"equals", secret_equals}, {NULL, NULL}};
  dsc_compat_class(L, &(dsc_lua_class){SECRET, meta, methods, NULL});
}

/*
** result_save.c - the body into a file, whole or not at all: a temporary file in the same folder, then rename().
**
** A stream is written piece by piece, so that its size does not matter. Not synced to the disk: what must survive a
** power failure needs that of the caller.
** Threads: that of the lua_State.
*/
#include "lua/flow.h"
#include "lua/result.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* `path` is changed and put back. */
static bool make_parents(char *path) {
  for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    bool made = mkdir(path, 0777) == 0 || errno == EEXIST;
    *slash = '/';
    if (!made) return false;
  }
  return true;
}

static dsc_err fail_with_errno(dsc_why *why, const char *path) {
  return dsc_fail(why, DSC_EIO, "save: %s: %s", path, strerror(errno));
}

static bool write_all(int fd, dsc_str bytes) {
  while (bytes.n > 0) {
    ssize_t n = write(fd, bytes.p, bytes.n);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    bytes.p += n;
    bytes.n -= (size_t)n;
  }
  return true;
}

/* Writes the body: the string at index 4, or the stream when there is none. */
static dsc_err write_body(lua_State *L, dsc_lua_result *box, int fd, const char *path, dsc_why *why) {
  dsc_str bytes;
  if (lua_gettop(L) >= 4) {
    bytes.p = lua_tolstring(L, 4, &bytes.n);
    return write_all(fd, bytes) ? DSC_OK : fail_with_errno(why, path);
  }
  for (;;) {
    dsc_err err = dsc_lua_flow_read(L, 1, DSC_LUA_FLOW_PIECE, &bytes.n, why);
    if (err || bytes.n == 0) return err;
    bytes.p = box->flow->piece;
    if (!write_all(fd, bytes)) return fail_with_errno(why, path);
  }
}

/* `temporary` is a pattern of mkstemp(), which gives the file mode 0600. The old file stays unless all went well. */
static dsc_err replace_file(lua_State *L, dsc_lua_result *box, const char *path, char *temporary, dsc_why *why) {
  int fd = mkostemp(temporary, O_CLOEXEC);
  if (fd < 0) return fail_with_errno(why, path);
  dsc_err err = write_body(L, box, fd, path, why);
  if (close(fd) != 0 && !err) err = fail_with_errno(why, path);
  if (!err && rename(temporary, path) != 0) err = fail_with_errno(why, path);
  if (err) unlink(temporary);
  return err;
}

/* Pushes a body that is there already; a stream whose rest was read by string() is there too. */
static void push_ready_body(lua_State *L, dsc_lua_result *box) {
  if (!dsc_lua_result_is_stream(box)) {
    dsc_lua_result_push_body(L, box);
    return;
  }
  dsc_lua_result_push_slot(L, 1, DSC_RESULT_BODY);
  if (lua_isnil(L, -1)) lua_pop(L, 1);
}

int dsc_lua_result_save(lua_State *L) {
  dsc_why why = {""};
  dsc_lua_result *box = dsc_lua_result_check(L);
  dsc_str path = dsc_compat_check_str(L, 2);
  int refused = dsc_lua_result_refuse(L, box);
  if (refused) return refused;
  if (path.n == 0 || path.n > 4096 || strlen(path.p) != path.n)
    return dsc_compat_fail(L, dsc_fail(&why, DSC_EIO, "save: the path is empty, too long or holds a NUL byte"), &why);
  lua_settop(L, 2);
  char *scratch = lua_newuserdata(L, path.n + 16);
  memcpy(scratch, path.p, path.n + 1);
  push_ready_body(L, box);
  dsc_lua_flow_prepare(L, box);
  dsc_err err = make_parents(scratch) ? DSC_OK : fail_with_errno(&why, scratch);
  memcpy(scratch + path.n, ".XXXXXX", 8);
  if (!err) err = replace_file(L, box, path.p, scratch, &why);
  return dsc_compat_answer(L, err, &why);
}

/*
** wake.c - one byte on a unix socket.
**
** Invariants: at most one byte is on its way (`rung` is set from before it is sent until it was read), so the socket's
** buffer is never full and no byte is lost. The path exists from dsc_wake_new() until one connection was taken, at the
** longest until dsc_wake_free(); it is new each time, and a peer must be this process.
** Threads: the owner's; dsc_wake_ring() any.
*/
#include "net/wake.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fork.h"
#include "base/mem.h"

#define FOLDER "/tmp/discover-%ld-XXXXXX"

struct dsc_wake {
  /* constant */
  uint32_t generation;
  /* owner's thread only */
  char folder[64]; /* "": removed */
  struct sockaddr_un at;
  int listener; /* -1: closed */
  /* set before anybody rings */
  int line; /* -1: not yet */
  /* any thread, atomic */
  atomic_bool rung;
};

static dsc_err fail_with_errno(dsc_why *why, const char *what) {
  int number = errno;
  return dsc_fail(why, number == ENOMEM ? DSC_ENOMEM : DSC_EIO, "a socket to be woken by: %s: %s", what,
                  strerror(number));
}

static bool make_folder(dsc_wake *wake) {
  snprintf(wake->folder, sizeof wake->folder, FOLDER, (long)getpid());
  if (mkdtemp(wake->folder)) return true;
  wake->folder[0] = '\0';
  return false;
}

static void remove_path(dsc_wake *wake) {
  if (!wake->folder[0]) return;
  unlink(wake->at.sun_path);
  rmdir(wake->folder);
  wake->folder[0] = '\0';
}

static void close_fd(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

static dsc_err listen_there(dsc_wake *wake, dsc_why *why) {
  if (!make_folder(wake)) return fail_with_errno(why, "mkdtemp");
  wake->at.sun_family = AF_UNIX;
  snprintf(wake->at.sun_path, sizeof wake->at.sun_path, "%.64s/wake", wake->folder);
  wake->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (wake->listener < 0) return fail_with_errno(why, "socket");
  /* the mode of the socket is that of the file; the process's umask is left alone */
  if (fchmod(wake->listener, S_IRUSR | S_IWUSR) != 0) return fail_with_errno(why, "fchmod");
  if (bind(wake->listener, (const struct sockaddr *)&wake->at, sizeof wake->at) != 0)
    return fail_with_errno(why, "bind");
  if (listen(wake->listener, 4) != 0) return fail_with_errno(why, "listen");
  return DSC_OK;
}

dsc_err dsc_wake_new(dsc_wake **out, dsc_why *why) {
  *out = NULL;
  dsc_wake *wake = dsc_mem_zalloc(1, sizeof *wake);
  if (!wake) return dsc_fail(why, DSC_ENOMEM, "%s", dsc_err_text(DSC_ENOMEM));
  wake->generation = dsc_fork_generation();
  wake->listener = wake->line = -1;
  dsc_err err = listen_there(wake, why);
  if (err)
    dsc_wake_free(wake);
  else
    *out = wake;
  return err;
}

const char *dsc_wake_path(const dsc_wake *wake) {
  return wake->at.sun_path;
}

static bool is_own(int fd) {
  struct ucred peer;
  socklen_t n = sizeof peer;
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0 && peer.pid == getpid();
}

dsc_err dsc_wake_accept(dsc_wake *wake, dsc_why *why) {
  while (wake->line < 0) {
    wake->line = accept4(wake->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (wake->line < 0 && errno != EINTR && errno != ECONNABORTED) return fail_with_errno(why, "accept");
    if (wake->line >= 0 && !is_own(wake->line)) close_fd(&wake->line);
  }
  close_fd(&wake->listener);
  remove_path(wake);
  return DSC_OK;
}

void dsc_wake_ring(dsc_wake *wake) {
  if (wake->line < 0 || atomic_exchange(&wake->rung, true)) return;
  /* the buffer is empty: this fails only when the peer is gone, and then nobody is to be woken */
  while (send(wake->line, "!", 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == EINTR) {}
}

void dsc_wake_clear(dsc_wake *wake) {
  atomic_store(&wake->rung, false);
}

void dsc_wake_free(dsc_wake *wake) {
  if (!wake) return;
  if (!dsc_fork_is_stale(wake->generation)) remove_path(wake);
  close_fd(&wake->listener);
  close_fd(&wake->line);
  dsc_mem_free(wake);
}

/*
** tls_files.h - certificates for unit tests, made by the openssl command in a folder of the test's own.
**
**     ca.pem     an authority                    other.pem  one that signed nothing
**     node.pem   DNS:node.test, IP:127.0.0.1     old.pem    the same, ended yesterday
**     ca.key other.key node.key                  their keys (node.key is old.pem's too)
**
** tls_files_make() and tls_files_remove() are a group's set-up and end. Header only, because each test program is one
** file.
*/
#ifndef DSC_SPEC_TLS_FILES_H
#define DSC_SPEC_TLS_FILES_H

#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static char tls_folder[64];

/* Returns the path of a file in the folder; good for eight calls. */
static const char *tls_file(const char *name) {
  static char ring[8][128];
  static unsigned next;
  char *place = ring[next++ % 8];
  snprintf(place, sizeof ring[0], "%s/%s", tls_folder, name);
  return place;
}

/* Runs a command in the folder; the test fails if it does. */
static void tls_shell(const char *command) {
  char line[1024];
  snprintf(line, sizeof line, "cd %s && { %s; } >log 2>&1", tls_folder, command);
  if (system(line) != 0) fail_msg("failed: %s", command);
}

#define TLS_NEW_KEY "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
#define TLS_SIGN    "openssl x509 -req -in node.csr -CA ca.pem -CAkey ca.key -extfile node.ext "

static int tls_files_make(void **state) {
  (void)state;
  signal(SIGPIPE, SIG_IGN); /* for the server's side */
  snprintf(tls_folder, sizeof tls_folder, "/tmp/discover-unit.XXXXXX");
  if (!mkdtemp(tls_folder)) return -1;
  tls_shell("openssl req -x509 " TLS_NEW_KEY
            "-keyout ca.key -out ca.pem -subj /CN=ca -addext basicConstraints=CA:TRUE");
  tls_shell("openssl req -x509 " TLS_NEW_KEY "-keyout other.key -out other.pem -subj /CN=other");
  tls_shell("openssl req -new " TLS_NEW_KEY "-keyout node.key -out node.csr -subj /CN=node");
  tls_shell("echo subjectAltName=DNS:node.test,IP:127.0.0.1 >node.ext");
  tls_shell(TLS_SIGN "-set_serial 1 -out node.pem");
  tls_shell(TLS_SIGN "-set_serial 2 -days -1 -out old.pem");
  return 0;
}

static int tls_files_remove(void **state) {
  char line[128];
  (void)state;
  snprintf(line, sizeof line, "rm -r %s", tls_folder);
  return system(line);
}

#endif

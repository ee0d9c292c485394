/*
** tls.c - TLS settings, each made once per process.
**
** A setting is found again by its options and by what its files were when they were read (device, inode, size, time):
** who configures an app after a certificate was renewed gets a new one. It is made outside the lock, so that the lock
** is never held while a file is read; when two threads make the same, the second takes the first one's.
**
** Invariant: a setting never changes once it is in the list. Threads: any; the list's lock is brought through a fork.
*/
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "base/list.h"
#include "base/mem.h"
#include "net/tls_impl.h"

typedef struct file_mark {
  dev_t device;
  ino_t inode;
  off_t size;
  struct timespec changed;
} file_mark;

struct dsc_tls {
  /* constant */
  dsc_tls_config config;
  file_mark marks[3]; /* of ca, cert, key */
  uint64_t id;
  SSL_CTX *context;
  /* under list_lock */
  dsc_link link;
  size_t refs;
};

static pthread_once_t once = PTHREAD_ONCE_INIT, fork_once = PTHREAD_ONCE_INIT;
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static dsc_link list = {&list, &list};
static uint64_t last_id;

static void lock_list(void) {
  pthread_mutex_lock(&list_lock);
}

static void unlock_list(void) {
  pthread_mutex_unlock(&list_lock);
}

static void watch_forks(void) {
  pthread_atfork(lock_list, unlock_list, unlock_list);
}

void dsc_tls_watch_forks(void) {
  pthread_once(&fork_once, watch_forks);
}

static void set_up(void) {
  /* OpenSSL must not clean up at exit while a thread of ours still speaks TLS */
  OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL);
  dsc_tls_watch_forks();
}

void dsc_tls_prepare(void) {
  pthread_once(&once, set_up);
}

/* ------------------------------------------------------------- reading files */

static bool mark_file(const char *path, file_mark *mark) {
  struct stat st;
  *mark = (file_mark){0};
  if (!path) return true;
  if (stat(path, &st) != 0) return false;
  *mark = (file_mark){st.st_dev, st.st_ino, st.st_size, st.st_mtim};
  return true;
}

static bool same_mark(const file_mark *a, const file_mark *b) {
  return a->device == b->device && a->inode == b->inode && a->size == b->size &&
         a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

static dsc_err refuse_file(dsc_why *why, const char *option, const char *path, const char *sentence) {
  const char *reason = dsc_tls_take_reason();
  return dsc_fail(why, DSC_EINVALID, "tls.%s: %s %s%s%s%s", option, path, sentence, reason ? " (" : "",
                  reason ? reason : "", reason ? ")" : "");
}

/* Looks whether the files are there, so that the sentence is the system's and not OpenSSL's. */
static dsc_err mark_files(dsc_tls *tls, dsc_why *why) {
  const char *const paths[] = {tls->config.ca, tls->config.cert, tls->config.key};
  static const char *const options[] = {"ca", "cert", "key"};
  for (size_t i = 0; i < 3; i++) {
    if (mark_file(paths[i], &tls->marks[i])) continue;
    return dsc_fail(why, DSC_EINVALID, "tls.%s: %s cannot be read: no such file, or no permission", options[i],
                    paths[i]);
  }
  return DSC_OK;
}

static dsc_err load_authorities(SSL_CTX *context, const char *ca, dsc_why *why) {
  struct stat st;
  if (!ca) {
    SSL_CTX_set_default_verify_paths(context);
    return DSC_OK;
  }
  bool folder = stat(ca, &st) == 0 && S_ISDIR(st.st_mode);
  if ((folder ? SSL_CTX_load_verify_dir(context, ca) : SSL_CTX_load_verify_file(context, ca)) == 1) return DSC_OK;
  return refuse_file(why, "ca", ca, "holds no certificates in PEM form that can be read");
}

/* Nobody is asked for a pass phrase: a library must not wait at a terminal. */
static int refuse_pass_phrase(char *buf, int size, int rwflag, void *ud) {
  (void)buf;
  (void)size;
  (void)rwflag;
  *(bool *)ud = true;
  return -1;
}

static dsc_err load_own(SSL_CTX *context, const dsc_tls_config *config, dsc_why *why) {
  if (!config->cert) return DSC_OK;
  bool encrypted = false;
  const char *key = config->key ? config->key : config->cert;
  const char *option = config->key ? "key" : "cert";
  if (SSL_CTX_use_certificate_chain_file(context, config->cert) != 1)
    return refuse_file(why, "cert", config->cert, "is no certificate in PEM form that can be read");
  SSL_CTX_set_default_passwd_cb(context, refuse_pass_phrase);
  SSL_CTX_set_default_passwd_cb_userdata(context, &encrypted);
  int ok = SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM);
  SSL_CTX_set_default_passwd_cb(context, NULL);
  SSL_CTX_set_default_passwd_cb_userdata(context, NULL);
  if (ok == 1 && SSL_CTX_check_private_key(context) == 1) return DSC_OK;
  if (!encrypted) return refuse_file(why, option, key, "is not the private key of the certificate, in PEM form");
  dsc_tls_take_reason();
  return dsc_fail(why, DSC_EINVALID, "tls.%s: %s is encrypted; a key with a pass phrase cannot be used", option, key);
}

static dsc_err make_context(dsc_tls *tls, dsc_why *why) {
  ERR_clear_error();
  SSL_CTX *context = SSL_CTX_new(TLS_client_method());
  if (!context) return dsc_fail(why, DSC_ENOMEM, "%s", dsc_err_text(DSC_ENOMEM));
  tls->context = context;
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_mode(context, SSL_MODE_AUTO_RETRY | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_verify(context, tls->config.no_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
  dsc_err err = load_authorities(context, tls->config.ca, why);
  if (!err) err = load_own(context, &tls->config, why);
  ERR_clear_error();
  return err;
}

/* ------------------------------------------------------------------- the list */

static void free_setting(dsc_tls *tls) {
  SSL_CTX_free(tls->context);
  dsc_mem_free(tls->config.ca);
  dsc_mem_free(tls->config.cert);
  dsc_mem_free(tls->config.key);
  dsc_mem_free(tls->config.server_name);
  dsc_mem_free(tls);
}

static bool copy_text(char **to, const char *from) {
  *to = from ? dsc_mem_strdup(dsc_str_of(from)) : NULL;
  return *to || !from;
}

static dsc_tls *new_setting(const dsc_tls_config *config) {
  dsc_tls *tls = dsc_mem_zalloc(1, sizeof *tls);
  if (!tls) return NULL;
  tls->refs = 1;
  tls->config.no_verify = config->no_verify;
  dsc_list_init(&tls->link);
  if (copy_text(&tls->config.ca, config->ca) && copy_text(&tls->config.cert, config->cert) &&
      copy_text(&tls->config.key, config->key) && copy_text(&tls->config.server_name, config->server_name))
    return tls;
  free_setting(tls);
  return NULL;
}

static bool same_text(const char *a, const char *b) {
  return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_setting(const dsc_tls *a, const dsc_tls *b) {
  const dsc_tls_config *x = &a->config, *y = &b->config;
  if (x->no_verify != y->no_verify || !same_text(x->server_name, y->server_name)) return false;
  if (!same_text(x->ca, y->ca) || !same_text(x->cert, y->cert) || !same_text(x->key, y->key)) return false;
  for (size_t i = 0; i < 3; i++)
    if (!same_mark(&a->marks[i], &b->marks[i])) return false;
  return true;
}

/* Returns the one in the list that says the same, referenced; else NULL. */
static dsc_tls *find_locked(const dsc_tls *wanted) {
  for (dsc_link *link = list.next; link != &list; link = link->next) {
    dsc_tls *tls = DSC_LIST_ENTRY(link, dsc_tls, link);
    if (!same_setting(tls, wanted)) continue;
    tls->refs++;
    return tls;
  }
  return NULL;
}

/* Puts `mine` into the list, or finds its like there. Returns which one counts. */
static dsc_tls *publish(dsc_tls *mine, bool only_find) {
  pthread_mutex_lock(&list_lock);
  dsc_tls *tls = find_locked(mine);
  if (!tls && !only_find) {
    mine->id = ++last_id;
    dsc_list_push(&list, &mine->link);
    tls = mine;
  }
  pthread_mutex_unlock(&list_lock);
  return tls;
}

dsc_err dsc_tls_get(dsc_tls **tls, const dsc_tls_config *config, dsc_why *why) {
  dsc_tls_prepare();
  *tls = NULL;
  dsc_tls *mine = new_setting(config);
  if (!mine) return dsc_fail(why, DSC_ENOMEM, "%s", dsc_err_text(DSC_ENOMEM));
  dsc_err err = mark_files(mine, why);
  if (!err) *tls = publish(mine, true);
  if (!err && !*tls) {
    err = make_context(mine, why);
    if (!err) *tls = publish(mine, false);
  }
  if (*tls != mine) free_setting(mine);
  return err;
}

dsc_tls *dsc_tls_ref(dsc_tls *tls) {
  if (!tls) return NULL;
  pthread_mutex_lock(&list_lock);
  tls->refs++;
  pthread_mutex_unlock(&list_lock);
  return tls;
}

void dsc_tls_unref(dsc_tls *tls) {
  if (!tls) return;
  pthread_mutex_lock(&list_lock);
  bool last = --tls->refs == 0;
  if (last) dsc_list_remove(&tls->link);
  pthread_mutex_unlock(&list_lock);
  if (last) free_setting(tls);
}

/* ------------------------------------------------------------ for other users */

const char *dsc_tls_server_name(const dsc_tls *tls) {
  return tls->config.server_name;
}

uint64_t dsc_tls_id(const dsc_tls *tls) {
  return tls->id;
}

bool dsc_tls_verifies(const dsc_tls *tls) {
  return !tls->config.no_verify;
}

void *dsc_tls_context(const dsc_tls *tls) {
  return tls->context;
}

bool dsc_tls_apply(const dsc_tls *tls, void *ssl_ctx) {
  SSL_CTX *to = ssl_ctx, *from = tls->context;
  X509 *cert = SSL_CTX_get0_certificate(from);
  STACK_OF(X509) *chain = NULL;
  if (SSL_CTX_set_min_proto_version(to, TLS1_2_VERSION) != 1) return false;
  SSL_CTX_set1_cert_store(to, SSL_CTX_get_cert_store(from));
  if (!cert) return true;
  SSL_CTX_get0_chain_certs(from, &chain);
  return SSL_CTX_use_cert_and_key(to, cert, SSL_CTX_get0_privatekey(from), chain, 1) == 1;
}

bool dsc_tls_expect(const dsc_tls *tls, void *ssl, const char *host) {
  const char *name = tls->config.server_name ? tls->config.server_name : host;
  unsigned char address[16];
  bool literal = inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
  if (!literal && SSL_set_tlsext_host_name(ssl, name) != 1) return false;
  if (tls->config.no_verify) return true;
  X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
  if (literal) return X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1;
  X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  return SSL_set1_host(ssl, name) == 1;
}

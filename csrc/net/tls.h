/*
** tls.h - TLS settings made ready once per process, and TLS over memory for streams of our own.
**
** A dsc_tls is one distinct setting: authorities, own certificate and key, name, whether it verifies. It is made when
** something is configured (files are read then, never inside the loop) and shared by everybody with an equal setting.
** TLS 1.2 at least; verified by default against the system's authorities; SNI and the name that is checked are
** `server_name`, else the host that is dialed (an IP address is checked against the certificate's addresses).
**
** OpenSSL is spoken to in tls*.c alone; what curl needs of it goes through here as `void *`.
*/
#ifndef DSC_NET_TLS_H
#define DSC_NET_TLS_H

#include "base/buf.h"
#include "base/err.h"
#include "model/config.h"

/* verdicts of OpenSSL's, for libraries that check the name themselves and do not say which it was */
#define DSC_TLS_WRONG_NAME    62L
#define DSC_TLS_WRONG_ADDRESS 64L

typedef struct dsc_tls dsc_tls;
typedef struct dsc_tls_session dsc_tls_session;

/* Sets OpenSSL up as this library needs it; must come before anything else that would (curl_global_init()). Any thread;
** idempotent. */
void dsc_tls_prepare(void);

/* Brings the lock of the settings through forks from now on. Who calls functions of this header with a lock of its own
** held, and takes that lock before a fork, says so to pthread_atfork() after this: handlers run last installed first,
** and both threads must take the locks in one order. Cheap: leaves OpenSSL alone. Any thread; idempotent. */
void dsc_tls_watch_forks(void);

/* Finds or makes the setting. Any thread; reads files. Caller owns one reference. Fails: DSC_EINVALID with `why` that
** names the option and the file (missing, not PEM, the key does not belong to the certificate), DSC_ENOMEM. */
dsc_err dsc_tls_get(dsc_tls **tls, const dsc_tls_config *config, dsc_why *why);

/* Takes a reference; NULL is allowed. Any thread. Returns `tls`. */
dsc_tls *dsc_tls_ref(dsc_tls *tls);

/* Gives a reference back; NULL is allowed. Any thread. */
void dsc_tls_unref(dsc_tls *tls);

/* Borrows the name to be sent and checked, NULL: that of the host. Any thread. */
const char *dsc_tls_server_name(const dsc_tls *tls);

/* Returns a number that no other setting of this process has or had. Any thread. */
uint64_t dsc_tls_id(const dsc_tls *tls);

/* True when peers are verified. Any thread. */
bool dsc_tls_verifies(const dsc_tls *tls);

/* Borrows the SSL_CTX, for libraries that take one; it must not be changed. Any thread. */
void *dsc_tls_context(const dsc_tls *tls);

/* Gives an SSL_CTX that a library made the authorities, certificate, key and least version of this setting. Any thread.
** Fails: false. */
bool dsc_tls_apply(const dsc_tls *tls, void *ssl_ctx);

/* Sets on an SSL that a library made the name to send and the name or address to check: `server_name`, else `host`.
** Any thread. Fails: false. */
bool dsc_tls_expect(const dsc_tls *tls, void *ssl, const char *host);

/* Says in words why a handshake failed: expired, wrong name, unknown authority, self-signed, not TLS at all, refused by
** the peer. `verify_result` is OpenSSL's (0: fine), `reason` the library's text or NULL. Any thread. */
void dsc_tls_explain(dsc_why *why, const char *addr, long verify_result, const char *reason);

/* Writes SHA-1 of `text`, which RFC 6455 wants where nothing must be kept secret. Any thread. Fails: false. */
bool dsc_tls_sha1(uint8_t digest[20], dsc_str text);

/* Writes `n` bytes as base64: 4 characters for 3 bytes, and a 0. Any thread. */
void dsc_tls_base64(char *text, const uint8_t *bytes, size_t n);

/* Begins a client's session over memory. Loop thread. Takes a reference to `tls`. Caller owns. Fails: NULL. */
dsc_tls_session *dsc_tls_session_new(dsc_tls *tls, const char *host);

/* Frees it; NULL is allowed. Loop thread. */
void dsc_tls_session_free(dsc_tls_session *session);

/* Begins or goes on with the handshake; appends what is to be sent to `out`. Loop thread. Fails: DSC_ETLS with `why`,
** DSC_ENOMEM. */
dsc_err dsc_tls_session_handshake(dsc_tls_session *session, const char *addr, dsc_buf *out, dsc_why *why);

/* True once the handshake is over and the peer was verified. Loop thread. */
bool dsc_tls_session_is_open(const dsc_tls_session *session);

/* Gives it bytes that came from the peer. Loop thread. Fails: DSC_ENOMEM. */
dsc_err dsc_tls_session_take(dsc_tls_session *session, dsc_str cipher);

/* Decrypts up to `max` bytes of what was taken; `*n` 0: nothing more for now. May append to `out`. Loop thread. Fails:
** DSC_ECLOSED (the peer said goodbye), DSC_ETLS with `why`, DSC_ENOMEM. */
dsc_err dsc_tls_session_read(dsc_tls_session *session, char *bytes, size_t max, size_t *n, dsc_buf *out, dsc_why *why);

/* Encrypts all of `plain` and appends it to `out`. Loop thread. Fails: DSC_ETLS with `why`, DSC_ENOMEM. */
dsc_err dsc_tls_session_write(dsc_tls_session *session, dsc_str plain, dsc_buf *out, dsc_why *why);

#endif

/*
** tls_impl.h - what the tls*.c files share, and nobody else: OpenSSL is spoken to in these files only.
**
**     tls.c          settings: made, found again, given to curl
**     tls_explain.c  what a failed handshake means in plain words
**     tls_session.c  a client's session over memory
**     tls_digest.c   SHA-1, base64
*/
#ifndef DSC_NET_TLS_IMPL_H
#define DSC_NET_TLS_IMPL_H

#include <openssl/ssl.h>

#include "net/tls.h"

/* Returns OpenSSL's text for the oldest error that waits in this thread, NULL: none; takes all of them away. Any
** thread. Static string. */
const char *dsc_tls_take_reason(void);

#endif

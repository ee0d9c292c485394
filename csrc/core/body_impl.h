/*
** body_impl.h - a request's body as the call that sends it sees it.
**
** net/http reads it inside the loop. Where the function of a host gives it, the loop never calls that: a read that
** finds nothing makes the body hungry, and the call feeds it in its next frame. A failure sticks: such a body can't be
** read again, and the call that used it ends with what dsc_body_failure() says.
*/
#ifndef DSC_CORE_BODY_IMPL_H
#define DSC_CORE_BODY_IMPL_H

#include "core/body.h"
#include "net/http.h"

/* Fills in what net/http reads with; it borrows the body. Owner's thread. */
void dsc_body_get_source(dsc_body *body, dsc_http_source *source);

/* `fn` is called inside the loop each time a read found nothing (DSC_HTTP_SOURCE_LATER). It may only note that. Owner's
** thread. NULL: nobody listens. */
void dsc_body_on_hungry(dsc_body *body, void (*fn)(void *ud), void *ud);

/* True when a read found nothing and the body was not fed since. Owner's thread. */
bool dsc_body_is_hungry(const dsc_body *body);

/* Calls the host's reader once, unless bytes wait or the body is at its end; what reads nothing now is at its end.
** Owner's thread, in a frame, outside the loop's run. Fails: as the reader; DSC_ECALLBACK with `why`: more or less
** than the size that was given; DSC_ENOMEM. Then dsc_body_failure() is not NULL, and it fails the same again. */
dsc_err dsc_body_feed(dsc_body *body, void *ctx, dsc_why *why);

/* Returns the sentence that says why it can't be read (a file shrank, a read failed, the reader failed); NULL: nothing
** failed. Owner's thread. Borrowed from the body. */
const char *dsc_body_failure(const dsc_body *body);

/* Goes back to the beginning. Owner's thread. Returns false when it can't: dsc_body_can_rewind(). */
bool dsc_body_rewind(dsc_body *body);

#endif

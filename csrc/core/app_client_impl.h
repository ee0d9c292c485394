/*
** app_client_impl.h - how the core makes, fills and ends the state of a call.
*/
#ifndef DSC_CORE_APP_CLIENT_IMPL_H
#define DSC_CORE_APP_CLIENT_IMPL_H

#include "core/app_client.h"

/* Makes an empty one. Owner's thread. Allocates nothing. */
void dsc_app_client_init(dsc_app_client *ac);

/* Frees what it owns and gives the tried nodes back. Owner's thread. */
void dsc_app_client_fini(dsc_app_client *ac);

/* Notes a node as tried (takes a reference) and counts the attempt. Owner's thread. Fails: DSC_ENOMEM. */
dsc_err dsc_app_client_add_tried(dsc_app_client *ac, dsc_node *node);

#endif

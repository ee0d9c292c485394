/*
** outcome.h - how an attempt went, as far as the node is concerned.
*/
#ifndef DSC_MODEL_OUTCOME_H
#define DSC_MODEL_OUTCOME_H

/* Neutral: nothing is to be learned about the node from it (canceled, a fault of this process). */
typedef enum dsc_outcome { DSC_OUTCOME_SUCCESS, DSC_OUTCOME_FAILURE, DSC_OUTCOME_NEUTRAL } dsc_outcome;

#endif

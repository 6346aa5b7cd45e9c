/* The dial of models that hold several levels of sparsity (scap-ov apply --levels), for programs without Python.

   Link against libscap_ov_extension and give the same file to ov::Core::add_extension or ov::genai::extensions: the levels are state of the
   library in a process. A level may be chosen at any time and by any thread; every step that begins afterwards runs with it, and a step
   that is under way goes on with the level that it began with.

   A model's name is that of the folder (or of the .xml file) that it was written to; `scap-ov inspect` tells it. Where a model is NULL, all
   models with levels that the process has read are meant, so none need be named where there is one.

   Functions return 0; where something is wrong they return 1, change nothing, and write one sentence to `error` (NULL: nowhere). */
#ifndef SCAP_OV_H
#define SCAP_OV_H
#include <stddef.h>

#ifdef _WIN32
#    define SCAP_OV_PUBLIC __declspec(dllexport)
#else
#    define SCAP_OV_PUBLIC __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Chooses a level, such as 0.4: the share of weight bytes that a token does not read. It must be one that the models have; 0, where it is
   among them, is the dense model. */
SCAP_OV_PUBLIC int scap_ov_set_level(double level, const char* model, char* error, size_t error_size);

/* The level that steps begin with from now on. Several models must agree on it, or be asked for one by one. */
SCAP_OV_PUBLIC int scap_ov_get_level(const char* model, double* level, char* error, size_t error_size);

/* Writes the levels of a model, ascending, to `levels`, as many as `capacity` allows; `count` takes how many there are. */
SCAP_OV_PUBLIC int scap_ov_levels_of(const char* model, double* levels, size_t capacity, size_t* count, char* error, size_t error_size);

/* Writes the names of the models with levels that are loaded, one a line, to `names`; `size` takes the bytes that all of them need. */
SCAP_OV_PUBLIC int scap_ov_models(char* names, size_t capacity, size_t* size, char* error, size_t error_size);

#ifdef __cplusplus
}
#endif
#endif

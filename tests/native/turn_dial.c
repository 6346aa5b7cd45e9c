/* Runs a model at the levels that it is given, without Python: prints the first output at each, one a line.
   turn_dial MODEL.xml LIBRARY LEVEL... */
#include <openvino/c/openvino.h>
#include <stdio.h>
#include <stdlib.h>

#include "scap_ov.h"

#define CHECK(call)                                                    \
    do {                                                               \
        if ((call) != OK) {                                            \
            fprintf(stderr, "%s: %s\n", #call, ov_get_last_err_msg()); \
            return 1;                                                  \
        }                                                              \
    } while (0)

int main(int argc, char** argv) {
    char error[512];
    if (scap_ov_set_level(0.5, NULL, error, sizeof error) == 0) return 2; /* nothing is loaded yet */
    printf("%s\n", error);
    ov_core_t* core = NULL;
    ov_compiled_model_t* compiled = NULL;
    ov_infer_request_t* request = NULL;
    ov_tensor_t *input = NULL, *output = NULL;
    CHECK(ov_core_create(&core));
    CHECK(ov_core_add_extension(core, argv[2]));
    CHECK(ov_core_compile_model_from_file(core, argv[1], "CPU", 2, &compiled, "INFERENCE_PRECISION_HINT", "f32"));
    CHECK(ov_compiled_model_create_infer_request(compiled, &request));
    int64_t dims[3] = {1, 1, 96};
    ov_shape_t shape;
    CHECK(ov_shape_create(3, dims, &shape));
    CHECK(ov_tensor_create(F32, shape, &input));
    float* x = NULL;
    CHECK(ov_tensor_data(input, (void**)&x));
    for (int i = 0; i < 96; ++i) x[i] = (float)(i % 7 - 3) / 3.0f;
    CHECK(ov_infer_request_set_input_tensor_by_index(request, 0, input));

    char names[256];
    size_t size = 0, count = 0;
    double levels[8];
    if (scap_ov_models(names, sizeof names, &size, error, sizeof error)) return 3;
    if (scap_ov_levels_of(NULL, levels, 8, &count, error, sizeof error)) return 4;
    printf("%s", names);
    for (size_t i = 0; i < count; ++i) printf("%g%c", levels[i], i + 1 < count ? ' ' : '\n');
    for (int i = 3; i < argc; ++i) {
        if (scap_ov_set_level(atof(argv[i]), NULL, error, sizeof error)) {
            printf("%s\n", error);
            continue;
        }
        CHECK(ov_infer_request_infer(request));
        CHECK(ov_infer_request_get_output_tensor_by_index(request, 0, &output));
        const float* y = NULL;
        size_t n = 0;
        double level = -1;
        CHECK(ov_tensor_get_size(output, &n));
        CHECK(ov_tensor_data(output, (void**)&y));
        if (scap_ov_get_level(NULL, &level, error, sizeof error)) return 5;
        printf("%g:", level);
        for (size_t j = 0; j < n; ++j) printf(" %.9g", y[j]);
        printf("\n");
        ov_tensor_free(output);
    }
    ov_shape_free(&shape);
    ov_tensor_free(input);
    ov_infer_request_free(request);
    ov_compiled_model_free(compiled);
    ov_core_free(core);
    return 0;
}

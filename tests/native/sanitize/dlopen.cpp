// Loaded before AddressSanitizer: TBB opens its binding library with RTLD_DEEPBIND, which the sanitizer does not take.
#include <dlfcn.h>

extern "C" void* dlopen(const char* file, int flags) {
    static const auto next = reinterpret_cast<void* (*)(const char*, int)>(dlsym(RTLD_NEXT, "dlopen"));
    return next(file, flags & ~RTLD_DEEPBIND);
}

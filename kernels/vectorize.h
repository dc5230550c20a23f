// Marks an inner loop for the compiler to vectorize: it is built once for each kind of processor, and the right version is
// picked when the program starts. Results do not depend on it: multiplications and additions are not fused.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define TERSOR_VECTORIZED __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define TERSOR_VECTORIZED
#endif

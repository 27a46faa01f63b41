#include <cstdint>
extern "C" __attribute__((visibility("default"))) int32_t msnow_abi() { return 1; }

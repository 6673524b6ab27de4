# SPDX-License-Identifier: Apache-2.0
# cmake -DIN= -DOUT= -DGZIP= -P absent.cmake: the source file with the page of a build without a page.
execute_process(COMMAND ${GZIP} -9 -n -c ${IN} OUTPUT_FILE ${OUT}.gz COMMAND_ERROR_IS_FATAL ANY)
file(READ ${OUT}.gz hex HEX)
file(SHA256 ${OUT}.gz sum)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
file(REMOVE ${OUT}.gz)
file(WRITE ${OUT} "#include \"daemon/http/assets.h\"
namespace shadow::http {
static const unsigned char kIndex[] = {${bytes}};
const Asset kAssets[] = {{\"/\", \"text/html; charset=utf-8\", \"\\\"${sum}\\\"\", kIndex, sizeof(kIndex)}};
const std::size_t kAssetCount = 1;
}  // namespace shadow::http
")

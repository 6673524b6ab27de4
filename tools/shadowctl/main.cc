// SPDX-License-Identifier: Apache-2.0
#include "tools/shadowctl/app.h"

int main(int argc, char** argv) { return shadow::ctl::Run(argc, argv); }

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The one place that says which version this is: of the module (MODULE_VERSION), of every program
 * (--version) and of the packages. CMakeLists.txt and tools/packaging/build read this line.
 */
#ifndef SHADOW_VERSION_H
#define SHADOW_VERSION_H

#define SHADOW_VERSION "0.1.0"

#endif

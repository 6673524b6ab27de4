// SPDX-License-Identifier: Apache-2.0
// `pam`: train, evaluate and inspect the predictive access model. Only option parsing; every
// subcommand is in its own file.
#include "tools/pam/common.h"

int main(int argc, char** argv) {
  using namespace shadow::pam::tool;  // NOLINT: the program's own namespace
  CLI::App app("Predictive access model: which blocks will be accessed, and how sure is that?");
  app.require_subcommand(1);
  Run run;
  AddTrace(app, &run);
  AddEval(app, &run);
  AddModel(app, &run);
  AddBench(app, &run);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  return run ? run() : 2;
}

# SPDX-License-Identifier: Apache-2.0
# The evaluation on oneandone_mssql, if the trace lies in $SHADOW_TRACES or ../shared/traces: pam must
# not be worse than 1.01 times the best rival at 60 s. Variables: PAM, ROOT.
set(dir "$ENV{SHADOW_TRACES}")
if(dir STREQUAL "")
  set(dir ${ROOT}/../shared/traces)
endif()
set(trace ${dir}/oneandone_mssql.csv.xz)
if(NOT EXISTS ${trace})
  message("SKIPPED: ${trace} is not there")
  return()
endif()
execute_process(COMMAND ${PAM} eval ${trace} --no-trees --no-sim --json -
  RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE err)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "pam eval failed: ${err}")
endif()
string(FIND "${out}" "[\n" at)
string(SUBSTRING "${out}" ${at} -1 json)
string(JSON ratio GET "${json}" 0 run horizons 60s ratio_to_best_rival)
message("oneandone_mssql: log loss of pam / best rival = ${ratio}")
if(ratio GREATER 1.01)
  message(FATAL_ERROR "worse than the best rival allows")
endif()

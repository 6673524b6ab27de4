# SPDX-License-Identifier: Apache-2.0
# Makes the page's files and puts them into a source file: SHADOW_WEB_ASSETS is its path.
#
# npm fetches the packages that web/package-lock.json names, with their checksums, once and at
# configure time. If that is not possible SHADOW_WEB says what happens: AUTO builds shadowd without a
# page, and tries again at the next configure; ON stops; OFF does not try.
set(SHADOW_WEB AUTO CACHE STRING "Build the dashboard with npm's packages: ON, OFF, AUTO (if they can be had)")
set(web ${CMAKE_CURRENT_SOURCE_DIR}/web)
set(web_build ${CMAKE_BINARY_DIR}/web)
set(SHADOW_WEB_ASSETS ${CMAKE_CURRENT_BINARY_DIR}/assets.cc)
set(SHADOW_WEB_FOUND FALSE)
set(why "")

if(NOT SHADOW_WEB STREQUAL "OFF")
  find_program(NODE_PROGRAM NAMES node nodejs)
  find_program(NPM_PROGRAM NAMES npm)
  set(installed ${web_build}/node_modules/.installed)
  file(SHA256 ${web}/package-lock.json lock_sum)
  set(had "")
  if(EXISTS ${installed})
    file(READ ${installed} had)
  endif()
  if(NOT NODE_PROGRAM OR NOT NPM_PROGRAM)
    set(why "node and npm are not installed (tools/setup/install brings them)")
  elseif(had STREQUAL lock_sum)
    set(SHADOW_WEB_FOUND TRUE)
  else()
    message(STATUS "Dashboard: npm fetches its packages")
    file(MAKE_DIRECTORY ${web_build})
    file(COPY ${web}/package.json ${web}/package-lock.json DESTINATION ${web_build})
    # Nothing a package wants to run is run: esbuild's program is inside its package.
    execute_process(COMMAND ${NPM_PROGRAM} ci --ignore-scripts --no-audit --no-fund --loglevel=error
                            --fetch-retries=1 --fetch-timeout=60000
                    WORKING_DIRECTORY ${web_build} RESULT_VARIABLE failed OUTPUT_QUIET ERROR_VARIABLE npm_says
                    TIMEOUT 300)
    if(failed)
      string(STRIP "${npm_says}" npm_says)
      string(SUBSTRING "${npm_says}" 0 400 npm_says)
      set(why "npm could not fetch its packages:\n${npm_says}\n  Configure again when the network is there")
    else()
      file(WRITE ${installed} ${lock_sum})
      set(SHADOW_WEB_FOUND TRUE)
    endif()
  endif()
  if(why AND SHADOW_WEB STREQUAL "ON")
    message(FATAL_ERROR "Dashboard: ${why}.")
  elseif(why)
    message(WARNING "shadowd is built without its dashboard: ${why}.")
  endif()
endif()

if(SHADOW_WEB_FOUND)
  file(GLOB_RECURSE web_sources CONFIGURE_DEPENDS ${web}/src/*)
  add_custom_command(OUTPUT ${SHADOW_WEB_ASSETS}
    COMMAND ${NODE_PROGRAM} ${web}/build.mjs ${web} ${web_build} ${SHADOW_WEB_ASSETS}
    DEPENDS ${web_sources} ${web}/build.mjs ${web}/package-lock.json ${web}/tsconfig.json
    COMMENT "Building the dashboard" VERBATIM)
else()
  # gzip of web/absent.html, so that a build without node needs nothing that it has not.
  find_program(GZIP_PROGRAM gzip REQUIRED)
  add_custom_command(OUTPUT ${SHADOW_WEB_ASSETS}
    COMMAND ${CMAKE_COMMAND} -DIN=${web}/absent.html -DOUT=${SHADOW_WEB_ASSETS} -DGZIP=${GZIP_PROGRAM}
            -P ${CMAKE_CURRENT_SOURCE_DIR}/absent.cmake
    DEPENDS ${web}/absent.html ${CMAKE_CURRENT_SOURCE_DIR}/absent.cmake VERBATIM)
endif()

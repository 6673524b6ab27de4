# SPDX-License-Identifier: Apache-2.0
# What `cmake --install build --prefix /usr` puts where. The units and udev's rule name /usr/sbin, so the prefix is
# /usr, below DESTDIR for a package. Afterwards, as root: depmod, systemctl daemon-reload, udevadm control --reload,
# update-initramfs -u. Components:
#   boot    what brings volumes up without the daemon (dm-shadow-activate, udev's rule, unit, initramfs)
#   module  dm-shadow.ko for each kernel that it was built for; a package leaves this to DKMS
#   daemon  shadowd and its unit
#   tools   shadowctl, the offline tools, completion, manual pages
#   model   the worker of the predictive access model and its tool, if they were built
include(GNUInstallDirs)
set(SHADOW_UNIT_DIR lib/systemd/system CACHE STRING "Where systemd's units go, below the prefix or absolute")
set(SHADOW_UDEV_DIR lib/udev CACHE STRING "Where udev's rules.d lies, below the prefix or absolute")

install(TARGETS dm-shadow-activate RUNTIME DESTINATION ${CMAKE_INSTALL_SBINDIR} COMPONENT boot)
install(FILES tools/udev/59-dm-shadow.rules DESTINATION ${SHADOW_UDEV_DIR}/rules.d COMPONENT boot)
install(FILES tools/udev/dm-shadow@.service DESTINATION ${SHADOW_UNIT_DIR} COMPONENT boot)
set(initramfs ${CMAKE_INSTALL_DATAROOTDIR}/initramfs-tools)
install(PROGRAMS tools/initramfs/hook DESTINATION ${initramfs}/hooks RENAME dm-shadow COMPONENT boot)
foreach(when local-top local-block)
  install(PROGRAMS tools/initramfs/activate
    DESTINATION ${initramfs}/scripts/${when} RENAME dm-shadow COMPONENT boot)
endforeach()

string(CONFIGURE [[
  file(GLOB modules "@CMAKE_BINARY_DIR@/kernel/*/dm-shadow.ko")
  foreach(module ${modules})
    get_filename_component(folder ${module} DIRECTORY)
    get_filename_component(version ${folder} NAME)
    file(INSTALL ${module} DESTINATION ${CMAKE_INSTALL_PREFIX}/lib/modules/${version}/extra)
  endforeach()
]] install_modules @ONLY)
install(CODE "${install_modules}" COMPONENT module)

if(TARGET shadowd)  # and with it shadowctl: they need gRPC
  install(TARGETS shadowd RUNTIME DESTINATION ${CMAKE_INSTALL_SBINDIR} COMPONENT daemon)
  install(FILES daemon/shadowd.service DESTINATION ${SHADOW_UNIT_DIR} COMPONENT daemon)
  install(TARGETS shadowctl RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT tools)
  install(FILES tools/shadowctl/completion/shadowctl.bash
    DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/bash-completion/completions RENAME shadowctl COMPONENT tools)
endif()

install(TARGETS shadow_check shadow_dump shadow_restore
  RUNTIME DESTINATION ${CMAKE_INSTALL_SBINDIR} COMPONENT tools)
install(TARGETS shadow-replay shadow-trace RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT tools)
foreach(section 1 5 8)
  file(GLOB pages docs/man/*.${section})
  install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section} COMPONENT tools)
endforeach()

if(TARGET pam_worker)
  install(TARGETS pam_worker RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/dm-shadow COMPONENT model)
endif()

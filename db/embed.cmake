# SPDX-License-Identifier: Apache-2.0
# cmake -DIN=file -DOUT=header -DNAME=array -P embed.cmake: the file's bytes and a NUL as a C array.
file(READ ${IN} bytes HEX)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
string(REGEX REPLACE "(................................................................................)" "\\1\n" bytes "${bytes}")
file(WRITE ${OUT} "/* Made from ${NAME}'s source by embed.cmake. */\nstatic const char ${NAME}[] = {\n${bytes}0x00};\n")

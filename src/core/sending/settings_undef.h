/*-------------------------------------------------------------------------
 *
 * settings_undef.h
 *	  Ends an inclusion of settings.def: its macros can be defined anew.
 *
 * src/core/sending/settings_undef.h
 *
 *-------------------------------------------------------------------------
 */
#undef BS_TEXT_NAMED
#undef BS_TEXT
#undef BS_COUNT
#undef BS_SECONDS
#undef BS_MS
#undef BS_KB
#undef BS_REAL
#undef BS_WORD

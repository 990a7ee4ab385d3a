/* SPDX-License-Identifier: Apache-2.0 */
/* What can be delegated: the bits of per1 in TPM_DELEGATIONS (TPM Main 1.2, Part 2, 20.2). */
#ifndef VTPM_WIRE_PERMISSIONS_H
#define VTPM_WIRE_PERMISSIONS_H

/* Part 2, 20.2.1: delegated owner permissions, per1. Bit 31 and all of per2 must be zero. */
#define TPM_DELEGATE_SetOrdinalAuditStatus          0x40000000u
#define TPM_DELEGATE_DirWriteAuth                   0x20000000u
#define TPM_DELEGATE_CMK_ApproveMA                  0x10000000u
#define TPM_DELEGATE_NV_WriteValue                  0x08000000u
#define TPM_DELEGATE_CMK_CreateTicket               0x04000000u
#define TPM_DELEGATE_NV_ReadValue                   0x02000000u
#define TPM_DELEGATE_Delegate_LoadOwnerDelegation   0x01000000u
#define TPM_DELEGATE_DAA_Join                       0x00800000u
#define TPM_DELEGATE_AuthorizeMigrationKey          0x00400000u
#define TPM_DELEGATE_CreateMaintenanceArchive       0x00200000u
#define TPM_DELEGATE_LoadMaintenanceArchive         0x00100000u
#define TPM_DELEGATE_KillMaintenanceFeature         0x00080000u
#define TPM_DELEGATE_OwnerReadInternalPub           0x00040000u
#define TPM_DELEGATE_ResetLockValue                 0x00020000u
#define TPM_DELEGATE_OwnerClear                     0x00010000u
#define TPM_DELEGATE_DisableOwnerClear              0x00008000u
#define TPM_DELEGATE_NV_DefineSpace                 0x00004000u
#define TPM_DELEGATE_OwnerSetDisable                0x00002000u
#define TPM_DELEGATE_SetCapability                  0x00001000u
#define TPM_DELEGATE_MakeIdentity                   0x00000800u
#define TPM_DELEGATE_ActivateIdentity               0x00000400u
#define TPM_DELEGATE_OwnerReadPubek                 0x00000200u
#define TPM_DELEGATE_DisablePubekRead               0x00000100u
#define TPM_DELEGATE_SetRedirection                 0x00000080u
#define TPM_DELEGATE_FieldUpgrade                   0x00000040u
#define TPM_DELEGATE_Delegate_UpdateVerification    0x00000020u
#define TPM_DELEGATE_CreateCounter                  0x00000010u
#define TPM_DELEGATE_ReleaseCounterOwner            0x00000008u
#define TPM_DELEGATE_DelegateManage                 0x00000004u
#define TPM_DELEGATE_Delegate_CreateOwnerDelegation 0x00000002u
#define TPM_DELEGATE_DAA_Sign                       0x00000001u

/* Part 2, 20.2.3: delegated key permissions, per1. */
#define TPM_KEY_DELEGATE_CMK_ConvertMigration   0x10000000u
#define TPM_KEY_DELEGATE_TickStampBlob          0x08000000u
#define TPM_KEY_DELEGATE_ChangeAuthAsymStart    0x04000000u
#define TPM_KEY_DELEGATE_ChangeAuthAsymFinish   0x02000000u
#define TPM_KEY_DELEGATE_CMK_CreateKey          0x01000000u
#define TPM_KEY_DELEGATE_MigrateKey             0x00800000u
#define TPM_KEY_DELEGATE_LoadKey2               0x00400000u
#define TPM_KEY_DELEGATE_EstablishTransport     0x00200000u
#define TPM_KEY_DELEGATE_ReleaseTransportSigned 0x00100000u
#define TPM_KEY_DELEGATE_Quote2                 0x00080000u
#define TPM_KEY_DELEGATE_Sealx                  0x00040000u
#define TPM_KEY_DELEGATE_MakeIdentity           0x00020000u
#define TPM_KEY_DELEGATE_ActivateIdentity       0x00010000u
#define TPM_KEY_DELEGATE_GetAuditDigestSigned   0x00008000u
#define TPM_KEY_DELEGATE_Sign                   0x00004000u
#define TPM_KEY_DELEGATE_CertifyKey2            0x00002000u
#define TPM_KEY_DELEGATE_CertifyKey             0x00001000u
#define TPM_KEY_DELEGATE_CreateWrapKey          0x00000800u
#define TPM_KEY_DELEGATE_CMK_CreateBlob         0x00000400u
#define TPM_KEY_DELEGATE_CreateMigrationBlob    0x00000200u
#define TPM_KEY_DELEGATE_ConvertMigrationBlob   0x00000100u
#define TPM_KEY_DELEGATE_CreateKeyDelegation    0x00000080u
#define TPM_KEY_DELEGATE_ChangeAuth             0x00000040u
#define TPM_KEY_DELEGATE_GetPubKey              0x00000020u
#define TPM_KEY_DELEGATE_UnBind                 0x00000010u
#define TPM_KEY_DELEGATE_Quote                  0x00000008u
#define TPM_KEY_DELEGATE_Unseal                 0x00000004u
#define TPM_KEY_DELEGATE_Seal                   0x00000002u
#define TPM_KEY_DELEGATE_LoadKey                0x00000001u

#endif

-- A state file of schema 2, as shadowd wrote it before enumerations were stored by name: db0 in the
-- middle of a move and growth, db1 with a write-back tier, db2 after a move. Made by the engine of
-- that version in the simulated machine; sqlite3 .dump. The upgrade is tested against it: never change it.
BEGIN TRANSACTION;
CREATE TABLE volumes(name TEXT PRIMARY KEY, record TEXT NOT NULL);
INSERT INTO volumes VALUES('db1','{"block_sectors":128,"created_ms":1700000000000,"fresh":true,"imported":false,"metadata":{"class":"nvme","device":"/dev/vg_nvme/db1.metadata.","id":"ID4","lv":true,"made":true,"size":4194304},"name":"db1","origin":{"class":"hdd","device":"/dev/vg_hdd/db1.origin.","id":"ID3","lv":true,"made":true,"size":4194304},"remove_origin":false,"sectors":8192,"state":1,"uuid":"00000002-0000-4000-8000-000000000000"}');
INSERT INTO volumes VALUES('db2','{"block_sectors":128,"created_ms":1700000000000,"fresh":false,"imported":false,"metadata":{"class":"nvme","device":"/dev/vg_nvme/db2.metadata.","id":"ID6","lv":true,"made":true,"size":4194304},"name":"db2","origin":{"class":"nvme","device":"/dev/vg_nvme/db2.target.00000004-0000-4000-8000-000000000000","id":"ID8","lv":true,"made":true,"size":4194304},"remove_origin":false,"sectors":8192,"state":1,"uuid":"00000003-0000-4000-8000-000000000000"}');
INSERT INTO volumes VALUES('db0','{"block_sectors":128,"created_ms":1700000000000,"fresh":true,"imported":false,"metadata":{"class":"nvme","device":"/dev/vg_nvme/db0.metadata.","id":"ID2","lv":true,"made":true,"size":4194304},"name":"db0","origin":{"class":"hdd","device":"/dev/vg_hdd/db0.origin.","id":"ID1","lv":true,"made":true,"size":4194304},"remove_origin":false,"sectors":10240,"state":1,"uuid":"00000001-0000-4000-8000-000000000000"}');
CREATE TABLE tiers(volume TEXT PRIMARY KEY, record TEXT NOT NULL);
INSERT INTO tiers VALUES('db1','{"metadata_end":4194304,"policy":{"budget":1073741824,"impact":1,"policy":"pam","tier1_heat":700,"tier2_heat":300,"window_ms":60000},"tier1":{"leg":{"class":"nvme","device":"/dev/vg_nvme/db1.tier1.","id":"ID7","lv":true,"made":true,"size":4194304},"lost":false,"phase":2,"request_id":"tier-db1","size":4194304,"to":"nvme","write_back":true},"tier2":{"leg":{"class":"","device":"","id":"","lv":false,"made":false,"size":0},"lost":false,"phase":0,"request_id":"","size":0,"to":"","write_back":false},"volume":"db1"}');
CREATE TABLE modifications(
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, volume TEXT NOT NULL,
    record TEXT NOT NULL);
INSERT INTO modifications VALUES(1,'00000004-0000-4000-8000-000000000000','db2','{"baseline_p50_us":0,"baseline_p99_us":0,"bytes_copied":0,"bytes_total":0,"cutover_pause_us":1,"error":"","finished_ms":1700000001200,"grace_ends_ms":1700000000800,"id":"00000004-0000-4000-8000-000000000000","mirrored_writes":0,"new_sectors":8192,"old_sectors":8192,"origin":{"class":"hdd","device":"/dev/vg_hdd/db2.origin.","id":"ID5","lv":true,"made":true,"size":4194304},"plan":{"bytes_to_copy":0,"expected_ms":0,"expected_pause_us":0,"from":"hdd","holes_bytes":4194304,"new_size":4194304,"old_size":4194304,"reversible":true,"steps":["Make a logical volume of 4 MiB in class nvme.","Attach the target.","Copy 0 B while the volume is in use.","Cut over, and keep both legs mirrored for the grace period.","Drop the origin /dev/vg_hdd/db2.origin. and remove it."],"target_device":"","to":"nvme","volume":"db2","warnings":[]},"request":{"discard_origin":false,"dry_run":false,"force_shrink":false,"grace_ms":0,"grow_filesystem":false,"impact":2,"rate":0,"retire":0,"size_bytes":0,"size_spec":"","to":"nvme","trim_first":true,"volume":"db2"},"request_id":"done","started_ms":1700000000000,"state":{"attempts":0,"ending":0,"kind":0,"paused":false,"step":22},"target":{"class":"nvme","device":"/dev/vg_nvme/db2.target.00000004-0000-4000-8000-000000000000","id":"ID8","lv":true,"made":true,"size":4194304},"volume":"db2"}');
INSERT INTO modifications VALUES(15,'00000005-0000-4000-8000-000000000000','db0','{"baseline_p50_us":0,"baseline_p99_us":0,"bytes_copied":0,"bytes_total":4194304,"cutover_pause_us":1,"error":"","finished_ms":0,"grace_ends_ms":0,"id":"00000005-0000-4000-8000-000000000000","mirrored_writes":0,"new_sectors":10240,"old_sectors":8192,"origin":{"class":"hdd","device":"/dev/vg_hdd/db0.origin.","id":"ID1","lv":true,"made":true,"size":4194304},"plan":{"bytes_to_copy":4194304,"expected_ms":16000,"expected_pause_us":1,"from":"hdd","holes_bytes":0,"new_size":5242880,"old_size":4194304,"reversible":true,"steps":["Make a logical volume of 5 MiB in class nvme.","Attach the target; the new capacity can be used from then on.","Copy 4 MiB while the volume is in use.","Cut over, and keep both legs mirrored for the grace period.","Drop the origin /dev/vg_hdd/db0.origin. and remove it."],"target_device":"","to":"nvme","volume":"db0","warnings":["Once the new capacity holds data, turning back is refused until it is freed."]},"request":{"discard_origin":false,"dry_run":false,"force_shrink":false,"grace_ms":60000,"grow_filesystem":false,"impact":0,"rate":0,"retire":1,"size_bytes":0,"size_spec":"+1M","to":"nvme","trim_first":true,"volume":"db0"},"request_id":"under-way","started_ms":1700000001200,"state":{"attempts":0,"ending":0,"kind":0,"paused":false,"step":7},"target":{"class":"nvme","device":"/dev/vg_nvme/db0.target.00000005-0000-4000-8000-000000000000","id":"ID9","lv":true,"made":true,"size":8388608},"volume":"db0"}');
CREATE TABLE history(
    number INTEGER PRIMARY KEY AUTOINCREMENT, modification TEXT NOT NULL, at_ms INTEGER NOT NULL,
    phase INTEGER NOT NULL, note TEXT NOT NULL);
INSERT INTO history VALUES(1,'00000004-0000-4000-8000-000000000000',1700000000000,0,'Planned.');
INSERT INTO history VALUES(2,'00000004-0000-4000-8000-000000000000',1700000000000,1,'Making the target in class nvme.');
INSERT INTO history VALUES(3,'00000004-0000-4000-8000-000000000000',1700000000500,2,'The target is attached; copying to /dev/vg_nvme/db2.target.00000004-0000-4000-8000-000000000000.');
INSERT INTO history VALUES(4,'00000004-0000-4000-8000-000000000000',1700000000600,4,'All blocks are copied; catching up.');
INSERT INTO history VALUES(5,'00000004-0000-4000-8000-000000000000',1700000000700,5,'Making the target the home of every block.');
INSERT INTO history VALUES(6,'00000004-0000-4000-8000-000000000000',1700000000800,6,'The target is the home of every block; it can still be rolled back.');
INSERT INTO history VALUES(7,'00000004-0000-4000-8000-000000000000',1700000000900,7,'The volume stays where it is now; releasing /dev/vg_hdd/db2.origin..');
INSERT INTO history VALUES(8,'00000004-0000-4000-8000-000000000000',1700000001200,8,'The volume is on /dev/vg_nvme/db2.target.00000004-0000-4000-8000-000000000000 with 4 MiB.');
INSERT INTO history VALUES(9,'00000005-0000-4000-8000-000000000000',1700000001200,0,'Planned.');
INSERT INTO history VALUES(10,'00000005-0000-4000-8000-000000000000',1700000001200,1,'Making the target in class nvme.');
INSERT INTO history VALUES(11,'00000005-0000-4000-8000-000000000000',1700000001700,2,'The target is attached; copying to /dev/vg_nvme/db0.target.00000005-0000-4000-8000-000000000000.');
CREATE TABLE requests(
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, body TEXT NOT NULL, object TEXT NOT NULL);
INSERT INTO requests VALUES('create-db0','create','{"block":65536,"name":"db0","size":4194304,"to":"hdd"}','db0');
INSERT INTO requests VALUES('create-db1','create','{"block":65536,"name":"db1","size":4194304,"to":"hdd"}','db1');
INSERT INTO requests VALUES('create-db2','create','{"block":65536,"name":"db2","size":4194304,"to":"hdd"}','db2');
INSERT INTO requests VALUES('tier-db1','tier-add','{"level":0,"size":1048576,"to":"nvme","volume":"db1","write_back":true}','db1');
INSERT INTO requests VALUES('done','modify','{"discard_origin":false,"dry_run":false,"force_shrink":false,"grace_ms":0,"grow_filesystem":false,"impact":2,"rate":0,"retire":0,"size_bytes":0,"size_spec":"","to":"nvme","trim_first":true,"volume":"db2"}','00000004-0000-4000-8000-000000000000');
INSERT INTO requests VALUES('under-way','modify','{"discard_origin":false,"dry_run":false,"force_shrink":false,"grace_ms":60000,"grow_filesystem":false,"impact":0,"rate":0,"retire":1,"size_bytes":0,"size_spec":"+1M","to":"nvme","trim_first":true,"volume":"db0"}','00000005-0000-4000-8000-000000000000');
CREATE TABLE events(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, volume TEXT NOT NULL,
    modification TEXT NOT NULL, severity TEXT NOT NULL, what TEXT NOT NULL, message TEXT NOT NULL);
INSERT INTO events VALUES(1,1700000000000,'db0','','info','volume','Created 4 MiB on /dev/vg_hdd/db0.origin..');
INSERT INTO events VALUES(2,1700000000000,'db1','','info','volume','Created 4 MiB on /dev/vg_hdd/db1.origin..');
INSERT INTO events VALUES(3,1700000000000,'db2','','info','volume','Created 4 MiB on /dev/vg_hdd/db2.origin..');
INSERT INTO events VALUES(4,1700000000000,'db1','','info','tier','Added tier1 on /dev/vg_nvme/db1.tier1. (write-back).');
INSERT INTO events VALUES(5,1700000000000,'db2','00000004-0000-4000-8000-000000000000','info','phase','Making the target in class nvme.');
INSERT INTO events VALUES(6,1700000000500,'db2','00000004-0000-4000-8000-000000000000','info','phase','The target is attached; copying to /dev/vg_nvme/db2.target.00000004-0000-4000-8000-000000000000.');
INSERT INTO events VALUES(7,1700000000600,'db2','00000004-0000-4000-8000-000000000000','info','phase','All blocks are copied; catching up.');
INSERT INTO events VALUES(8,1700000000700,'db2','00000004-0000-4000-8000-000000000000','info','phase','Making the target the home of every block.');
INSERT INTO events VALUES(9,1700000000800,'db2','00000004-0000-4000-8000-000000000000','info','phase','The target is the home of every block; it can still be rolled back.');
INSERT INTO events VALUES(10,1700000000900,'db2','00000004-0000-4000-8000-000000000000','info','phase','The volume stays where it is now; releasing /dev/vg_hdd/db2.origin..');
INSERT INTO events VALUES(11,1700000001200,'db2','00000004-0000-4000-8000-000000000000','info','phase','The volume is on /dev/vg_nvme/db2.target.00000004-0000-4000-8000-000000000000 with 4 MiB.');
INSERT INTO events VALUES(12,1700000001200,'db0','00000005-0000-4000-8000-000000000000','info','phase','Making the target in class nvme.');
INSERT INTO events VALUES(13,1700000001700,'db0','00000005-0000-4000-8000-000000000000','info','phase','The target is attached; copying to /dev/vg_nvme/db0.target.00000005-0000-4000-8000-000000000000.');
CREATE TABLE speeds(
    key TEXT PRIMARY KEY, read_bandwidth INTEGER NOT NULL, write_bandwidth INTEGER NOT NULL,
    read_latency_us INTEGER NOT NULL);
INSERT INTO speeds VALUES('class:hdd',104857600,0,2000);
INSERT INTO speeds VALUES('leg:ID3',104857600,0,2000);
INSERT INTO speeds VALUES('leg:ID7',104857600,104857600,100);
INSERT INTO speeds VALUES('class:nvme',1048576,1048576,100);
INSERT INTO speeds VALUES('pause',0,0,1);
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('events',13);
INSERT INTO sqlite_sequence VALUES('modifications',21);
INSERT INTO sqlite_sequence VALUES('history',11);
CREATE INDEX modifications_by_volume ON modifications(volume);
CREATE INDEX history_by_modification ON history(modification);
COMMIT;
PRAGMA user_version = 2;

-- Only names change, and two values: "following" 'closely' and 'late' become "tracking" 'active' and 'expired'. images.begun_at, where 0 stood for "to be deleted", becomes two columns.
DROP INDEX `keys_by_app`;--> statement-breakpoint
DROP INDEX `predictions_by_space`;--> statement-breakpoint
DROP INDEX `predictions_begun`;--> statement-breakpoint
DROP INDEX `predictions_seen`;--> statement-breakpoint
DROP INDEX `predictions_in_flight`;--> statement-breakpoint
DROP INDEX `predictions_overdue`;--> statement-breakpoint
DROP INDEX `predictions_followed`;--> statement-breakpoint
DROP INDEX `predictions_sought`;--> statement-breakpoint
DROP INDEX `posts_by_moment`;--> statement-breakpoint
DROP INDEX `uploads_address_unique`;--> statement-breakpoint
DROP INDEX `uploads_by_space`;--> statement-breakpoint
DROP INDEX `uploads_by_end`;--> statement-breakpoint
DROP INDEX `images_partial`;--> statement-breakpoint
ALTER TABLE `keys` RENAME TO `api_keys`;--> statement-breakpoint
ALTER TABLE `tagged` RENAME TO `prediction_tags`;--> statement-breakpoint
ALTER TABLE `spending` RENAME TO `app_monthly_spend`;--> statement-breakpoint
ALTER TABLE `posts` RENAME TO `submit_attempts`;--> statement-breakpoint
ALTER TABLE `pause` RENAME TO `submit_circuit`;--> statement-breakpoint
ALTER TABLE `pace` RENAME TO `concurrency_limit`;--> statement-breakpoint
ALTER TABLE `parts` RENAME TO `image_chunks`;--> statement-breakpoint
ALTER TABLE `apps` RENAME COLUMN `turn` TO `virtual_time`;--> statement-breakpoint
ALTER TABLE `apps` RENAME COLUMN `queued_since` TO `backlog_started_at`;--> statement-breakpoint
ALTER TABLE `apps` RENAME COLUMN `is_new` TO `is_newly_active`;--> statement-breakpoint
ALTER TABLE `predictions` RENAME COLUMN `space` TO `restriction_key`;--> statement-breakpoint
ALTER TABLE `predictions` RENAME COLUMN `token` TO `token_id`;--> statement-breakpoint
ALTER TABLE `predictions` RENAME COLUMN `following` TO `tracking`;--> statement-breakpoint
ALTER TABLE `predictions` RENAME COLUMN `attempts` TO `submit_attempts`;--> statement-breakpoint
ALTER TABLE `predictions` RENAME COLUMN `image_seen_at` TO `image_verified_at`;--> statement-breakpoint
ALTER TABLE `predictions` RENAME COLUMN `image_tries` TO `image_check_failures`;--> statement-breakpoint
ALTER TABLE `predictions` RENAME COLUMN `handed_url` TO `upstream_image_url`;--> statement-breakpoint
ALTER TABLE `predictions` RENAME COLUMN `begun_at` TO `submit_started_at`;--> statement-breakpoint
ALTER TABLE `predictions` RENAME COLUMN `running_at` TO `last_seen_running_at`;--> statement-breakpoint
ALTER TABLE `predictions` RENAME COLUMN `empty_since` TO `completed_without_output_since`;--> statement-breakpoint
ALTER TABLE `submit_attempts` RENAME COLUMN `begun_at` TO `submit_started_at`;--> statement-breakpoint
ALTER TABLE `events` RENAME COLUMN `standing` TO `state`;--> statement-breakpoint
ALTER TABLE `submit_circuit` RENAME COLUMN `trial` TO `half_open`;--> statement-breakpoint
ALTER TABLE `submit_circuit` RENAME COLUMN `trial_of` TO `probe_prediction_id`;--> statement-breakpoint
ALTER TABLE `concurrency_limit` RENAME COLUMN `only` TO `singleton`;--> statement-breakpoint
ALTER TABLE `uploads` RENAME COLUMN `space` TO `restriction_key`;--> statement-breakpoint
ALTER TABLE `uploads` RENAME COLUMN `address` TO `preview_token`;--> statement-breakpoint
ALTER TABLE `images` RENAME COLUMN `is_whole` TO `is_complete`;--> statement-breakpoint
ALTER TABLE `images` RENAME COLUMN `begun_at` TO `write_started_at`;--> statement-breakpoint
ALTER TABLE `images` RENAME COLUMN `handed_url` TO `upstream_url`;--> statement-breakpoint
ALTER TABLE `images` RENAME COLUMN `handed_until` TO `upstream_url_expires_at`;--> statement-breakpoint
ALTER TABLE `image_chunks` RENAME COLUMN `part` TO `chunk_index`;--> statement-breakpoint
ALTER TABLE `images` ADD `delete_requested_at` integer;--> statement-breakpoint
UPDATE `images` SET `delete_requested_at` = 0 WHERE `is_complete` = 0 AND `write_started_at` = 0;--> statement-breakpoint
UPDATE `predictions` SET `tracking` = iif(`tracking` = 'closely', 'active', 'expired') WHERE `tracking` IS NOT NULL;--> statement-breakpoint
CREATE INDEX `api_keys_by_app` ON `api_keys` (`app_id`);--> statement-breakpoint
CREATE INDEX `predictions_by_restriction` ON `predictions` (`app_id`,`restriction_key`,`created_at`,`id`) WHERE "restriction_key" <> '';--> statement-breakpoint
CREATE INDEX `predictions_submit_started` ON `predictions` (`due_at`) WHERE "submission" = 'begun';--> statement-breakpoint
CREATE INDEX `predictions_image_verified` ON `predictions` (`image_verified_at`) WHERE "status" = 'QUEUED' and "submission" = 'none';--> statement-breakpoint
CREATE INDEX `predictions_in_flight` ON `predictions` (`app_id`) WHERE "tracking" = 'active';--> statement-breakpoint
CREATE INDEX `predictions_overdue` ON `predictions` (`submitted_at`) WHERE "tracking" = 'active';--> statement-breakpoint
CREATE INDEX `predictions_tracked` ON `predictions` (`due_at`) WHERE "submission" = 'accepted' and "tracking" is not null;--> statement-breakpoint
CREATE INDEX `predictions_unresolved` ON `predictions` ("status" <> 'QUEUED',`due_at`) WHERE "submission" = 'unknown' and "tracking" is not null;--> statement-breakpoint
CREATE INDEX `submit_attempts_by_time` ON `submit_attempts` (`submit_started_at`);--> statement-breakpoint
CREATE UNIQUE INDEX `uploads_by_preview_token` ON `uploads` (`preview_token`);--> statement-breakpoint
CREATE UNIQUE INDEX `uploads_by_restriction` ON `uploads` (`app_id`,`restriction_key`,`hash`);--> statement-breakpoint
CREATE INDEX `uploads_by_expiry` ON `uploads` (`expires_at`);--> statement-breakpoint
CREATE INDEX `images_incomplete` ON `images` (`delete_requested_at`,`write_started_at`) WHERE "is_complete" = 0;

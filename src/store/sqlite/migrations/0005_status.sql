DROP INDEX `predictions_queue`;--> statement-breakpoint
CREATE INDEX `predictions_by_status` ON `predictions` (`app_id`,`status`,`created_at`,`id`);
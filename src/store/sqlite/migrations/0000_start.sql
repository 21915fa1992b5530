CREATE TABLE `apps` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`max_in_flight` integer,
	`max_queued` integer,
	`submits_per_minute` integer,
	`monthly_budget` integer,
	`weight` integer DEFAULT 1 NOT NULL,
	`created_at` integer NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `apps_name_unique` ON `apps` (`name`);--> statement-breakpoint
CREATE TABLE `events` (
	`seq` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`app_id` text NOT NULL,
	`prediction_id` text NOT NULL,
	`type` text NOT NULL,
	`previous_status` text,
	`occurred_at` integer NOT NULL,
	`standing` text NOT NULL,
	FOREIGN KEY (`prediction_id`) REFERENCES `predictions`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `events_by_app` ON `events` (`app_id`,`seq`);--> statement-breakpoint
CREATE INDEX `events_by_prediction` ON `events` (`prediction_id`,`seq`);--> statement-breakpoint
CREATE TABLE `keys` (
	`prefix` text PRIMARY KEY NOT NULL,
	`app_id` text NOT NULL,
	`hash` text NOT NULL,
	`created_at` integer NOT NULL,
	`expires_at` integer,
	FOREIGN KEY (`app_id`) REFERENCES `apps`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `keys_by_app` ON `keys` (`app_id`);--> statement-breakpoint
CREATE TABLE `meta` (
	`name` text PRIMARY KEY NOT NULL,
	`value` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE `pause` (
	`version` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`reason` text NOT NULL,
	`since` integer NOT NULL,
	`until` integer NOT NULL,
	`trial` integer NOT NULL,
	`trial_of` text,
	`failures` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `posts` (
	`prediction_id` text NOT NULL,
	`attempt` integer NOT NULL,
	`begun_at` integer NOT NULL,
	PRIMARY KEY(`prediction_id`, `attempt`)
);
--> statement-breakpoint
CREATE INDEX `posts_by_moment` ON `posts` (`begun_at`);--> statement-breakpoint
CREATE TABLE `predictions` (
	`id` text PRIMARY KEY NOT NULL,
	`app_id` text NOT NULL,
	`model` text NOT NULL,
	`image_url` text NOT NULL,
	`prompt` text NOT NULL,
	`negative_prompt` text,
	`duration` integer NOT NULL,
	`enable_prompt_expansion` integer NOT NULL,
	`seed` integer NOT NULL,
	`tags` text NOT NULL,
	`metadata` text,
	`retry_of` text,
	`idempotency_key` text,
	`fingerprint` text,
	`created_at` integer NOT NULL,
	`status` text NOT NULL,
	`outputs` text NOT NULL,
	`error` text,
	`cost` integer NOT NULL,
	`upstream_id` text,
	`submitted_at` integer,
	`started_at` integer,
	`finished_at` integer,
	`updated_at` integer NOT NULL,
	`inference_ms` integer,
	`submission` text DEFAULT 'none' NOT NULL,
	`fence` integer DEFAULT 0 NOT NULL,
	`attempts` integer DEFAULT 0 NOT NULL,
	`due_at` integer NOT NULL,
	`begun_at` integer,
	`empty_since` integer,
	FOREIGN KEY (`app_id`) REFERENCES `apps`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE UNIQUE INDEX `predictions_by_idempotency_key` ON `predictions` (`app_id`,`idempotency_key`);--> statement-breakpoint
CREATE UNIQUE INDEX `predictions_by_upstream_id` ON `predictions` (`upstream_id`);--> statement-breakpoint
CREATE INDEX `predictions_by_app` ON `predictions` (`app_id`,`created_at`,`id`);--> statement-breakpoint
CREATE INDEX `predictions_queue` ON `predictions` (`created_at`,`id`) WHERE "status" = 'QUEUED' and "submission" = 'none';--> statement-breakpoint
CREATE INDEX `predictions_begun` ON `predictions` (`due_at`) WHERE "submission" = 'begun';--> statement-breakpoint
CREATE INDEX `predictions_in_flight` ON `predictions` (`due_at`) WHERE "submission" = 'accepted' and "status" in ('CREATED', 'PROCESSING');--> statement-breakpoint
CREATE INDEX `predictions_finished` ON `predictions` (`model`,`finished_at`) WHERE "status" = 'COMPLETED';
CREATE TABLE `holds` (
	`prediction_id` text DEFAULT '' NOT NULL,
	`app_id` text DEFAULT '' NOT NULL,
	`model` text DEFAULT '' NOT NULL,
	`reason` text NOT NULL,
	`why` text,
	`since` integer NOT NULL,
	PRIMARY KEY(`prediction_id`, `app_id`, `model`)
);

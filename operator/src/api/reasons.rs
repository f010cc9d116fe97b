//! Every reason of a condition and of an Event, in one place, with what it means and what to do.
//!
//! `crds/README.md` and the troubleshooting of `deploy/README.md` list them from here.

use serde::Serialize;

/// An enum of reasons: name, meaning, remedy.
macro_rules! reasons {
    ($(#[$doc:meta])* $enum:ident { $($name:ident: $meaning:literal, $remedy:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        pub enum $enum {
            $(#[doc = $meaning] $name,)*
        }

        impl $enum {
            /// Every one, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns the name that the object holds.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// Returns what it means.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning),* }
            }

            /// Returns what to do.
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy),* }
            }
        }

        impl std::fmt::Display for $enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

reasons! {
    /// The conditions in a proxy's status.
    ConditionType {
        Ready: "Calls are served: the resource is accepted, and at least one worker with its model is ready.", "Look at the condition that its reason and message repeat.";
        Accepted: "The operator has read the resource and the API server has taken what follows from it.", "Correct the field that the message names.";
        WorkersReady: "As many workers as asked for are ready.", "See the reason.";
        ModelLoaded: "The workers have read their model and checked its sums.", "See the reason.";
        GatewayReady: "As many pods of the gateway as asked for are ready; only where spec.gateway is set.", "See the reason.";
        PodsInjected: "Every pod that is opted in and that this proxy should serve has the sidecar; pods that cannot have it are not counted.", "See the reason.";
        Degraded: "Something is not as it should be, although calls may still be served.", "See the reason.";
    }
}

reasons! {
    /// Why a condition has its status.
    ConditionReason {
        AsExpected: "All is well.", "Nothing.";
        Malformed: "The stored resource does not fit the types of this operator, which leaves its objects alone.", "Correct the field that the message names, or install the CRDs and the operator of one version.";
        Refused: "The API server has refused an object: quota, policy, or a value that it does not take.", "Correct what the message names; the operator tries again by itself.";
        NotOurs: "An object of the name exists and belongs to somebody else.", "Rename the proxy, or remove the object that the message names.";
        ApiUnavailable: "The API server did not answer or failed.", "Nothing, if it passes; the operator tries again by itself.";
        SecretNotFound: "A Secret that spec.synthesis or spec.gateway names is missing, or has no such key; new pods wait for it.", "Make the Secret, or correct the field that the message names.";
        ScaledToZero: "spec.workers.replicas is 0: no worker is wanted.", "Set it to 1 or more.";
        Idle: "Nobody asks, so that no worker is needed; the next call starts one and waits for it.", "Nothing.";
        Starting: "Workers, or pods of the gateway, are starting.", "Wait up to spec.workers.startSeconds.";
        RollingOut: "Workers, or pods of the gateway, are being replaced by ones with the new configuration or image.", "Wait.";
        NotEnough: "Fewer workers, or pods of the gateway, are ready than asked for.", "Look at the pods: kubectl describe pod -l app.kubernetes.io/instance=NAME.";
        CertificateMissing: "The certificate of workers or gateway has not been made yet.", "Look at the operator's log; the replica that holds the Lease makes it.";
        NoGpu: "No node has a free GPU of the resource that spec.workers.gpu names.", "Add a node or the device plugin, free a GPU, or remove spec.workers.gpu.";
        Unschedulable: "No node takes the pods; the message is the scheduler's.", "Change resources, nodeSelector, tolerations or affinity, or add a node.";
        NotCreated: "Pods cannot be made: a quota, a limit range, Pod Security or another webhook refuses them.", "Set what the message names: it says which object refuses, and which field to change. Pod Security restricted is no reason.";
        ImageNotPulled: "A node cannot pull an image.", "Check the name, the registry and the pull secrets.";
        VolumeNotMounted: "A pod waits for a volume: the model's claim or image, a ConfigMap or a certificate.", "Check spec.model.source and spec.decoder.source; the message is the kubelet's.";
        Crashing: "Workers, or pods of the gateway, end soon after their start; the message has their last words.", "Correct what they say.";
        Loaded: "A worker is ready, so its model has been read and checked.", "Nothing.";
        NotNeeded: "The tier Lexical needs no model, and there is no spec.decoder.", "Nothing.";
        Loading: "No worker has read its model yet; the message has what one of them does, with bytes and seconds.", "Wait up to spec.workers.startSeconds.";
        LoadFailed: "A worker cannot read its model; the message has its last words, which name the file.", "Correct what they say, in the folder that spec.model or spec.decoder names.";
        NoWorkers: "There is no worker that could load it.", "See WorkersReady.";
        PodsNotInjected: "Pods are opted in and have no sidecar: they were created before their namespace opted in, or while no operator answered.", "Create them again, such as with kubectl rollout restart, or let the operator do it: watchdog.evict of the chart. Label those that should have none liquidmemory.dev/inject: disabled.";
    }
}

reasons! {
    /// Why an Event was sent.
    EventReason {
        WorkersCreated: "Objects of workers or gateway have been made.", "Nothing.";
        RolloutStarted: "Workers are being replaced; the note says what has changed.", "Nothing.";
        ConfigurationChanged: "Sidecars read the changed file by themselves within two minutes; nothing restarts.", "Nothing.";
        DriftRepaired: "Somebody had changed an object of the operator; it has been put right.", "Change the LiquidMemoryProxy instead.";
        WorkersReady: "As many workers as asked for are ready.", "Nothing.";
        WorkersNotReady: "Workers that were ready, or should be by now, are not; the note says why.", "As the condition WorkersReady says.";
        WorkersScaled: "There are more or fewer workers for the load that the note says.", "Nothing.";
        GatewayReady: "As many pods of the gateway as asked for are ready.", "Nothing.";
        GatewayNotReady: "Pods of the gateway that were ready, or should be by now, are not; the note says why.", "As the condition GatewayReady says.";
        ModelLoaded: "A worker has read its model and is ready.", "Nothing.";
        ModelLoadFailed: "A worker cannot read its model; the note has its last words, which name the file.", "Correct what they say, in the folder that spec.model or spec.decoder names.";
        ReconcileFailed: "The objects could not be brought to what is asked for; the note says why.", "As the condition that the note names.";
        Malformed: "The stored resource does not fit the types of this operator.", "Correct the field that the note names.";
        Injected: "A pod got the sidecar.", "Nothing.";
        InjectionSkipped: "A pod that was opted in cannot have the sidecar; the note says why.", "Change what the note names, or label the pod liquidmemory.dev/inject: disabled.";
        BaseUrlKept: "A container has a base URL of its own, or may have one; its calls do not pass the sidecar.", "Remove it, or set the annotation that the note names.";
        BaseUrlAdopted: "The base URL that a container sets itself became the sidecar's upstream, as its annotation asks.", "Nothing.";
        NoProxyKept: "A container uses a proxy of the network, and its list of exceptions cannot be extended.", "Put 127.0.0.1 and localhost into the list that the note names.";
        TrustKept: "A container of an intercepted pod has a variable of its own for the authorities that it trusts; clients that read it refuse the sidecar's certificate unless it is in their file.", "Add the authorities of the mounted bundle to the file that the variable names, or remove it.";
        TrustReplaced: "A container of an intercepted pod was given the variables for the authorities that it trusts, and may have had them by an envFrom that is not read.", "Nothing, if it has not; else set them in env, to a file that holds the mounted authorities too.";
        HostAliasKept: "A pod gives a provider's host an address of its own; TLS to that host is not intercepted.", "Remove the host from the pod's hostAliases.";
        AnnotationUnknown: "An annotation of the group liquidmemory.dev, or a container that it names, does not exist.", "Check the spelling.";
        ProxyAmbiguous: "Several proxies are in reach of a pod; the oldest was taken.", "Name one by the annotation liquidmemory.dev/proxy.";
        PodNotInjected: "A pod is opted in and has no sidecar: its documents leave whole.", "As the note says: create it again, or label it liquidmemory.dev/inject: disabled.";
        PodEvicted: "A pod that was opted in and had no sidecar was evicted, so that its controller creates it again.", "Nothing.";
        EvictionsStopped: "The successor of an evicted pod has no sidecar or was not ready in time; the note says what is no longer evicted.", "Look at the pod that the note names, and run kubectl liquid check.";
        CertificatesRotated: "A certificate authority or certificate has been renewed.", "Nothing.";
        BundleRepaired: "The webhook's bundle of authorities had been changed; it has been put right.", "Leave it to the operator.";
    }
}

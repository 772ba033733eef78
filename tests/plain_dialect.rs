//! The tutorial's dialect over a real socket.

use serde_json::json;

use crate::support::{Client, Hub, token};

#[tokio::test]
async fn the_tutorial_s_client_says_and_hears() {
    let hub = Hub::start();
    let mut alice = Client::plain(&hub, "", &token("1", "alice")).await;
    let mut bob = Client::plain(&hub, "&room=lobby", &token("2", "bob")).await;
    // Joined or not, nothing is said about it; an error shows that bob has been heard.
    bob.send(&json!({"message": " "})).await;
    assert_eq!(bob.next().await["error"]["code"], "empty");
    alice.send(&json!({"message": "hi", "type": "chat.message"})).await;
    for client in [&mut alice, &mut bob] {
        let message = client.next().await;
        assert_eq!((&message["user"], &message["message"]), (&json!("alice"), &json!("hi")));
        let timestamp = message["timestamp"].as_str().unwrap();
        assert!(chrono::DateTime::parse_from_rfc3339(timestamp).is_ok() && timestamp.len() == 24, "{timestamp}");
    }
}

#[tokio::test]
async fn the_room_may_stand_in_the_path_or_the_query() {
    let hub = Hub::start();
    let token = token("1", "alice");
    for path in ["/ws/chat/tea", "/ws/chat/tea/", "/ws/chat/?room=tea", "/ws/chat?room=tea", "/ws/chat/tea?room=tea"] {
        let url = hub.url(&format!("{path}{}token={token}", if path.contains('?') { '&' } else { '?' }));
        let mut client = Client::open(&url, None).await.unwrap();
        client.send(&json!({"message": path})).await;
        let message = client.next().await;
        assert_eq!((&message["room"], &message["message"]), (&json!("tea"), &json!(path)));
    }
    for (path, code) in [("/ws/chat/tea?room=cup", "bad_field"), ("/ws/chat/%20", "bad_room_name")] {
        let Err(tokio_tungstenite::tungstenite::Error::Http(response)) = Client::open(&hub.url(path), None).await
        else {
            panic!("{path} was upgraded");
        };
        assert_eq!(response.status(), 400);
        let body: serde_json::Value = serde_json::from_slice(response.body().as_ref().unwrap()).unwrap();
        assert_eq!(body["error"]["code"], code);
    }
}

#[tokio::test]
async fn a_client_that_knows_of_the_hub_resumes_and_retries() {
    let hub = Hub::start();
    let token = token("1", "alice");
    let mut alice = Client::plain(&hub, "", &token).await;
    for text in ["one", "two", "three"] {
        alice.send(&json!({"message": text, "client_id": text})).await;
        let ok = alice.until(|frame| frame["ok"].is_object()).await;
        assert_eq!((&ok["ok"]["client_id"], &ok["ok"]["repeat"]), (&json!(text), &json!(false)));
    }
    alice.cut();
    let mut again = Client::plain(&hub, "&after=1", &token).await;
    let epoch = again.next().await["joined"]["epoch"].clone();
    assert_eq!((again.next().await["seq"].clone(), again.next().await["seq"].clone()), (json!(2), json!(3)));
    again.send(&json!({"message": "three", "client_id": "three"})).await;
    assert_eq!(again.next().await["ok"]["repeat"], true);
    let mut lost = Client::plain(&hub, "&after=99", &token).await;
    assert_eq!(lost.next().await, json!({"reset": {"room": "lobby", "head": 3, "epoch": epoch}}));
    let mut other = Client::plain(&hub, "&after=1&epoch=other", &token).await;
    assert_eq!(other.next().await["reset"]["head"], 3);
}

#[tokio::test]
async fn a_bad_token_is_told_over_the_socket() {
    let hub = Hub::start();
    for query in ["", "?token=", "?token=abc"] {
        let mut client = Client::open(&hub.url(&format!("/ws/chat/{query}")), None).await.unwrap();
        let closed = client.closed().await.unwrap();
        assert_eq!((closed.code, closed.reason.as_str()), (4500, "token_invalid"));
        assert_eq!(client.kept().count(), 0);
    }
}
